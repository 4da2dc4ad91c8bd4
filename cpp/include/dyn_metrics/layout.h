/* Numbers of the segment's format and of what headers rely on. Made from the code: change that. */
#ifndef DYN_METRICS_LAYOUT_H
#define DYN_METRICS_LAYOUT_H

#define DYNM_FORMAT_VERSION 1

/* Types of families, as exposed. */
#define DYNM_KIND_COUNTER 1
#define DYNM_KIND_GAUGE 2
#define DYNM_KIND_HISTOGRAM 3
#define DYNM_KIND_TALLY 4
#define DYNM_KIND_INFO 5
#define DYNM_KIND_STATE_SET 6
#define DYNM_KIND_EXPONENTIAL_HISTOGRAM 7

/* How the gauges of several processes combine. */
#define DYNM_MODE_ALL 1
#define DYNM_MODE_LIVEALL 2
#define DYNM_MODE_MIN 3
#define DYNM_MODE_LIVEMIN 4
#define DYNM_MODE_MAX 5
#define DYNM_MODE_LIVEMAX 6
#define DYNM_MODE_SUM 7
#define DYNM_MODE_LIVESUM 8
#define DYNM_MODE_MOSTRECENT 9
#define DYNM_MODE_LIVEMOSTRECENT 10

/* How a number lies in its word. */
#define DYNM_REPRESENTATION_INTEGER 0
#define DYNM_REPRESENTATION_FLOAT 1
#define DYNM_REPRESENTATION_NANOSECONDS 2

/* The word of a dynm_gauge_cell, and what it leads to. */
#define DYNM_GAUGE_PLAIN 4
#define DYNM_GAUGE_FLAGS 7
#define DYNM_HALF_VALUE 0
#define DYNM_HALF_STAMP 8
#define DYNM_HALF_BYTES 48

/* dynm_cells.packed, and struct rseq as glibc registers it. */
#define DYNM_CELLS_RSEQ_SHIFT 32
#define DYNM_CELLS_OFFSET_SHIFT 16
#define DYNM_CELLS_LENGTH_MASK 0xffff
#define DYNM_RSEQ_CPU_ID 4
#define DYNM_RSEQ_CS 8
#define DYNM_RSEQ_SIGNATURE_X86_64 0x53053053u
#define DYNM_RSEQ_SIGNATURE_AARCH64 0xd428bc00u

/* Limits of the format; bytes where they are of texts. */
#define DYNM_MAX_NAME 512
#define DYNM_MAX_HELP 4096
#define DYNM_MAX_UNIT 64
#define DYNM_MAX_LABELS 64
#define DYNM_MAX_LABEL_VALUE 4096
#define DYNM_MAX_BOUNDS 256
#define DYNM_MAX_STATES 63
#define DYNM_MAX_CPUS 8192

#endif /* DYN_METRICS_LAYOUT_H */
