# What find_package(dyn_metrics) reads. Two targets, of which a program takes one, and one for registry plugins:
#
#   dyn_metrics::dyn_metrics   libdyn_metrics.so
#   dyn_metrics::static        libdyn_metrics.a
#   dyn_metrics::plugin        headers alone: dyn_metrics/plugin.h, plugin.hpp
#
# Everything is found from this file's place, PREFIX/lib/cmake/dyn_metrics, so the whole may be moved.
# REALPATH: /lib may be a link to /usr/lib, and the headers are below /usr.
get_filename_component(_dyn_metrics_lib "${CMAKE_CURRENT_LIST_DIR}/../.." REALPATH)
get_filename_component(_dyn_metrics_prefix "${_dyn_metrics_lib}" DIRECTORY)

foreach(_dyn_metrics_file
    "${_dyn_metrics_lib}/libdyn_metrics.so.0"
    "${_dyn_metrics_lib}/libdyn_metrics.a"
    "${_dyn_metrics_prefix}/include/dyn_metrics.h")
  if(NOT EXISTS "${_dyn_metrics_file}")
    set(dyn_metrics_FOUND FALSE)
    set(dyn_metrics_NOT_FOUND_MESSAGE "${_dyn_metrics_file} is missing; install dyn_metrics again (make install)")
    return()
  endif()
endforeach()

if(NOT TARGET dyn_metrics::dyn_metrics)
  add_library(dyn_metrics::dyn_metrics SHARED IMPORTED)
  set_target_properties(dyn_metrics::dyn_metrics PROPERTIES
    IMPORTED_LOCATION "${_dyn_metrics_lib}/libdyn_metrics.so.0"
    IMPORTED_SONAME libdyn_metrics.so.0)

  add_library(dyn_metrics::static STATIC IMPORTED)
  set_target_properties(dyn_metrics::static PROPERTIES
    IMPORTED_LOCATION "${_dyn_metrics_lib}/libdyn_metrics.a"
    INTERFACE_LINK_LIBRARIES "pthread;dl;m")

  # A library that has restartable sequences in it, from the archive or the inline updates of the header, must never
  # be unmapped: see cpp/README.md.
  set(_dyn_metrics_type "$<TARGET_PROPERTY:TYPE>")
  set(_dyn_metrics_loaded
    "$<OR:$<STREQUAL:${_dyn_metrics_type},SHARED_LIBRARY>,$<STREQUAL:${_dyn_metrics_type},MODULE_LIBRARY>>")
  foreach(_dyn_metrics_target dyn_metrics::dyn_metrics dyn_metrics::static)
    set_target_properties(${_dyn_metrics_target} PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${_dyn_metrics_prefix}/include"
      INTERFACE_LINK_OPTIONS "$<${_dyn_metrics_loaded}:LINKER:-z,nodelete>")
  endforeach()

  add_library(dyn_metrics::plugin INTERFACE IMPORTED)
  set_target_properties(dyn_metrics::plugin PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${_dyn_metrics_prefix}/include")
endif()

foreach(_dyn_metrics_name lib prefix file type loaded target)
  unset(_dyn_metrics_${_dyn_metrics_name})
endforeach()
unset(_dyn_metrics_name)
