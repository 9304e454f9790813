;; What stands in for WASI inside a sealed component.
;;
;; The Rust standard library for wasm32-wasip1 links a handful of WASI calls whether or not they are
;; ever made. This module answers them all without asking anyone: the environment is empty, exit
;; traps, everything else fails with "not supported". Only the calls that are really linked may be
;; listed here, so that a dependency which starts to want files, a clock or random numbers breaks
;; the build instead of quietly getting an error at run time.
;;
;; Signatures: wasi_snapshot_preview1. Error numbers: 0 success, 8 bad file descriptor, 58 not supported.
(module
  (import "env" "memory" (memory 0))

  ;; (argv, argv_buf), (environ, environ_buf): nothing to write, the counts are zero.
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  ;; (*count, *buf_size)
  (func (export "args_sizes_get") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  (func (export "environ_sizes_get") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))

  ;; There is no clock: time is an input of an evaluation.
  (func (export "clock_time_get") (param i32 i64 i32) (result i32) (i32.const 58))

  ;; There are no random numbers: the same bytes in give the same bytes out.
  (func (export "random_get") (param i32 i32) (result i32) (i32.const 58))

  ;; There is no file descriptor, not even for messages.
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open")
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)
)
