//! The headers for registry plugins: they need no library, and compile however plugins are compiled.

use std::fs;

use dyn_metrics_tests::servers::have;

use crate::cells::compilers;
use crate::library::{assert_done, compiler, directory};

#[test]
fn the_plugin_headers_compile_with_the_flags_that_plugins_have() {
    let directory = directory();
    let source = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (c, cpp) = (
        source("only.c", "#include \"dyn_metrics/plugin.h\"\n"),
        source("only.cpp", "#include <dyn_metrics/plugin.hpp>\n"),
    );
    for name in ["cc", "clang"].into_iter().filter(|name| have(name)) {
        assert_done(compiler(name, "-std=c11").args(["-Wstrict-prototypes", "-fsyntax-only"]).arg(&c));
    }
    let strict = ["-Wshadow", "-Wconversion", "-Wold-style-cast", "-Wnon-virtual-dtor", "-fsyntax-only"];
    let ways: [&[&str]; 3] = [
        &["-std=c++20", "-O2", "-fvisibility=hidden"],
        &["-std=gnu++17", "-fno-exceptions", "-fno-rtti"],
        &["-std=c++17", "-ffast-math", "-funsigned-char"],
    ];
    for name in compilers() {
        for way in ways {
            assert_done(compiler(name, "-std=c++17").args(strict).args(way).arg(&cpp));
        }
    }
}
