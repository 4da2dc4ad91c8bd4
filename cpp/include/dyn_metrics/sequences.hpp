// sequences.hpp: the restartable sequences that update the current CPU's cell; for cells.hpp.
//
// Each stores the address of its descriptor into the thread's rseq_cs; directly after that store the section starts.
// It reads cpu_id, leaves for the cold path when that is beyond the table or has no block, and ends with the one store
// that commits. The abort handler, preceded by the signature that glibc has registered, lies outside the section and
// starts all over: rseq_cs is armed anew each time, because the kernel clears it at every abort. What a sequence relies
// on is the contract of dynm_cells, and Linux's linux/rseq.h for the descriptor: version, flags, start, length, abort
// address, aligned to 32.
//
// Descriptors and handlers join the section group of the code around them ("?"): where the linker keeps one copy of an
// inline function, it drops what belongs to the others, too. The numbers of the labels are local to each statement, so
// inlining and link-time optimisation may repeat it. The abort handler is reached by a return from the kernel, which no
// indirect-branch tracking (endbr64, bti) watches.
#ifndef DYN_METRICS_SEQUENCES_HPP
#define DYN_METRICS_SEQUENCES_HPP

#include <cstddef>
#include <cstdint>

#include "../dyn_metrics.h"

// Whether there are sequences. Not where ThreadSanitizer looks, which can't see through them; not where the descriptor
// is out of reach of the instructions that take its address; not with DYN_METRICS_NO_RSEQ. Then updates go to the
// shared block.
#if defined(DYN_METRICS_NO_RSEQ) || defined(__SANITIZE_THREAD__) || !defined(__linux__) || !defined(__LP64__)
#define DYNM_HAVE_SEQUENCES 0
#elif defined(__code_model_large__) || defined(__AARCH64_CMODEL_LARGE__)
#define DYNM_HAVE_SEQUENCES 0
#elif defined(__x86_64__) || defined(__aarch64__)
#define DYNM_HAVE_SEQUENCES 1
#else
#define DYNM_HAVE_SEQUENCES 0
#endif
#if DYNM_HAVE_SEQUENCES && defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef DYNM_HAVE_SEQUENCES
#define DYNM_HAVE_SEQUENCES 0
#endif
#endif

// For the tests of this file: instructions between any two of a sequence's, what these overwrite, and whether it is
// armed.
#ifndef DYNM_TEST_DELAY
#define DYNM_TEST_DELAY(place) ""
#define DYNM_TEST_CLOBBERS
#define DYNM_TEST_ARM(instruction) instruction
#endif

namespace dyn_metrics::detail {

// What a sequence needs to find the current CPU's cell.
struct Place {
  std::int64_t rseq;          // offset of the rseq area from the thread pointer
  const std::size_t* entries;
  std::uint32_t cpus;         // length of entries
  std::uint64_t byte_offset;  // of the word in each block

  [[gnu::always_inline]] static Place of(const dynm_cells& cells, std::uint32_t word) noexcept {
    const std::uint64_t packed = cells.packed;
    return {static_cast<std::int32_t>(packed >> DYNM_CELLS_RSEQ_SHIFT), cells.entries,
            static_cast<std::uint32_t>(packed & DYNM_CELLS_LENGTH_MASK),
            (static_cast<std::uint32_t>(packed) >> DYNM_CELLS_OFFSET_SHIFT) + 8 * std::uint64_t{word}};
  }
};

#if DYNM_HAVE_SEQUENCES && defined(__x86_64__)

// rax: the address of the descriptor, then the CPU, then the block.
#define DYNM_SEQUENCE(update)                                                                 \
  ".pushsection __rseq_cs, \"aw?\", @progbits\n"                                              \
  ".balign 32\n"                                                                              \
  "2:\n"                                                                                      \
  ".long 0, 0\n"                                                                              \
  ".quad 3f, 4f - 3f, 5f\n"                                                                   \
  ".popsection\n"                                                                             \
  "6:\n" DYNM_TEST_DELAY(0)                                                                   \
  "leaq 2b(%%rip), %%rax\n" DYNM_TEST_DELAY(1)                                                \
  DYNM_TEST_ARM("movq %%rax, %%fs:8(%[rseq])\n")                                              \
  "3:\n" DYNM_TEST_DELAY(2)                                                                   \
  "movl %%fs:4(%[rseq]), %%eax\n" DYNM_TEST_DELAY(3)                                          \
  "cmpl %[cpus], %%eax\n" DYNM_TEST_DELAY(4)                                                  \
  "jae %l[cold]\n" DYNM_TEST_DELAY(5)                                                         \
  "movq (%[entries], %%rax, 8), %%rax\n" DYNM_TEST_DELAY(6)                                   \
  "testq %%rax, %%rax\n" DYNM_TEST_DELAY(7)                                                   \
  "jz %l[cold]\n" DYNM_TEST_DELAY(8)                                                          \
  update                                                                                      \
  "4:\n" DYNM_TEST_DELAY(15)                                                                  \
  ".pushsection .text.rseq_abort, \"ax?\", @progbits\n"                                       \
  ".byte 0x0f, 0xb9, 0x3d\n" /* ud1 with the signature as operand: traps when it is run */    \
  ".long 0x53053053\n"                                                                        \
  "5:\n"                                                                                      \
  "jmp 6b\n"                                                                                  \
  ".popsection\n"
#define DYNM_PLACE(place)                                                                     \
  [rseq] "r"((place).rseq), [entries] "r"((place).entries), [cpus] "r"((place).cpus),         \
      [offset] "r"((place).byte_offset)
// Beside code that uses AVX, the older forms may wait for the upper halves of registers.
#ifdef __AVX__
#define DYNM_MOVE "vmovq "
#define DYNM_ADD "vaddsd %[x], %%xmm7, %%xmm7\n"
#else
#define DYNM_MOVE "movq "
#define DYNM_ADD "addsd %[x], %%xmm7\n"
#endif

// Adds 1; false when the current CPU has no block.
[[gnu::always_inline]] inline bool sequence_add_one(Place place) noexcept {
  __asm__ goto(DYNM_SEQUENCE("addq $1, (%%rax, %[offset])\n")
               :
               : DYNM_PLACE(place)
               : "rax", "memory", "cc" DYNM_TEST_CLOBBERS
               : cold);
  return true;
cold:
  return false;
}

// Adds n; false when the current CPU has no block.
[[gnu::always_inline]] inline bool sequence_add_u64(Place place, std::uint64_t n) noexcept {
  __asm__ goto(DYNM_SEQUENCE("addq %[n], (%%rax, %[offset])\n")
               :
               : DYNM_PLACE(place), [n] "er"(n)
               : "rax", "memory", "cc" DYNM_TEST_CLOBBERS
               : cold);
  return true;
cold:
  return false;
}

// Adds x to a double; false when the current CPU has no block. The double is loaded and stored as an integer: on Zen 4
// a store reaches the load of the next update sooner by way of the general registers.
[[gnu::always_inline]] inline bool sequence_add_f64(Place place, double x) noexcept {
  __asm__ goto(DYNM_SEQUENCE("movq (%%rax, %[offset]), %%rdx\n" DYNM_TEST_DELAY(9)
                             DYNM_MOVE "%%rdx, %%xmm7\n" DYNM_TEST_DELAY(10)
                             DYNM_ADD DYNM_TEST_DELAY(11)
                             DYNM_MOVE "%%xmm7, %%rdx\n" DYNM_TEST_DELAY(12)
                             "movq %%rdx, (%%rax, %[offset])\n")
               :
               : DYNM_PLACE(place), [x] "x"(x)
               : "rax", "rdx", "xmm7", "memory", "cc" DYNM_TEST_CLOBBERS
               : cold);
  return true;
cold:
  return false;
}

#undef DYNM_SEQUENCE
#undef DYNM_PLACE
#undef DYNM_MOVE
#undef DYNM_ADD

#elif DYNM_HAVE_SEQUENCES && defined(__aarch64__)

// x16: the address of the descriptor, then the CPU, then the block; x17: the rseq area.
#define DYNM_SEQUENCE(update)                                                                 \
  ".pushsection __rseq_cs, \"aw?\", %%progbits\n"                                             \
  ".balign 32\n"                                                                              \
  "2:\n"                                                                                      \
  ".long 0, 0\n"                                                                              \
  ".quad 3f, 4f - 3f, 5f\n"                                                                   \
  ".popsection\n"                                                                             \
  "6:\n" DYNM_TEST_DELAY(0)                                                                   \
  "mrs x17, tpidr_el0\n"                                                                      \
  "add x17, x17, %[rseq]\n"                                                                   \
  "adrp x16, 2b\n"                                                                            \
  "add x16, x16, :lo12:2b\n" DYNM_TEST_DELAY(1)                                               \
  DYNM_TEST_ARM("str x16, [x17, #8]\n")                                                       \
  "3:\n" DYNM_TEST_DELAY(2)                                                                   \
  "ldr w16, [x17, #4]\n" DYNM_TEST_DELAY(3)                                                   \
  "cmp w16, %w[cpus]\n" DYNM_TEST_DELAY(4)                                                    \
  "b.hs %l[cold]\n" DYNM_TEST_DELAY(5)                                                        \
  "ldr x16, [%[entries], x16, lsl #3]\n" DYNM_TEST_DELAY(6)                                   \
  "cbz x16, %l[cold]\n" DYNM_TEST_DELAY(8)                                                    \
  update                                                                                      \
  "4:\n" DYNM_TEST_DELAY(15)                                                                  \
  ".pushsection .text.rseq_abort, \"ax?\", %%progbits\n"                                      \
  ".inst 0xd428bc00\n" /* brk: traps when it is run */                                        \
  "5:\n"                                                                                      \
  "b 6b\n"                                                                                    \
  ".popsection\n"
#define DYNM_PLACE(place)                                                                     \
  [rseq] "r"((place).rseq), [entries] "r"((place).entries), [cpus] "r"((place).cpus),         \
      [offset] "r"((place).byte_offset)

// Adds n; false when the current CPU has no block.
[[gnu::always_inline]] inline bool sequence_add_u64(Place place, std::uint64_t n) noexcept {
  __asm__ goto(DYNM_SEQUENCE("ldr x15, [x16, %[offset]]\n" DYNM_TEST_DELAY(9)
                             "add x15, x15, %[n]\n" DYNM_TEST_DELAY(10)
                             "str x15, [x16, %[offset]]\n")
               :
               : DYNM_PLACE(place), [n] "rI"(n)
               : "x15", "x16", "x17", "memory", "cc" DYNM_TEST_CLOBBERS
               : cold);
  return true;
cold:
  return false;
}

// Adds 1; false when the current CPU has no block.
[[gnu::always_inline]] inline bool sequence_add_one(Place place) noexcept { return sequence_add_u64(place, 1); }

// Adds x to a double; false when the current CPU has no block.
[[gnu::always_inline]] inline bool sequence_add_f64(Place place, double x) noexcept {
  __asm__ goto(DYNM_SEQUENCE("ldr d16, [x16, %[offset]]\n" DYNM_TEST_DELAY(9)
                             "fadd d16, d16, %d[x]\n" DYNM_TEST_DELAY(10)
                             "str d16, [x16, %[offset]]\n")
               :
               : DYNM_PLACE(place), [x] "w"(x)
               : "x16", "x17", "v16", "memory", "cc" DYNM_TEST_CLOBBERS
               : cold);
  return true;
cold:
  return false;
}

#undef DYNM_SEQUENCE
#undef DYNM_PLACE

#endif

#if DYNM_HAVE_SEQUENCES && !defined(DYNM_TEST_UNPINNED)
// The kernel may look at the descriptor that a thread has armed at last, long after: so each object that has sequences
// tells the dynamic linker, when it is loaded, never to unload it. Hidden: every object has its own.
[[gnu::visibility("hidden")]] inline const int pinned = (dynm_pin(&pinned), 0);
#endif

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_SEQUENCES_HPP
