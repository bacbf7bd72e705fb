
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i64 i32 i64 i64)
    (local.set 3
      (i32.load offset=jumpCache
        (i32.const 0)))
    (local.set 7
      (i64.sub
        (local.get 0)
        (i64.const 0)))
    (local.set 8
      (i32.load offset=dataTlb
        (i32.const 0)))
    (if  ;; label = @1
      (i32.lt_s
        (local.get 1)
        (i32.const 1))
      (then
        (return_call $leave_short
          (local.get 7)
          (i32.const 0)
          (local.get 1))))
    (local.set 5
      (i64.load offset=x11
        (i32.const 0)))
    (local.set 6
      (i64.load offset=x12
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 1)))
    (local.set 9
      (local.get 5))
    (local.set 10
      (local.get 6))
    (local.set 4
      (if (result i64)  ;; label = @1
        (i64.eqz
          (local.get 10))
        (then
          (i64.const -1))
        (else
          (if (result i64)  ;; label = @2
            (if (result i32)  ;; label = @3
              (i64.eq
                (local.get 10)
                (i64.const -1))
              (then
                (i64.eq
                  (local.get 9)
                  (i64.const -9223372036854775808)))
              (else
                (i32.const 0)))
            (then
              (local.get 9))
            (else
              (i64.div_s
                (local.get 9)
                (local.get 10)))))))
    (i64.store offset=x10
      (i32.const 0)
      (local.get 4))
    (i64.store offset=pc
      (i32.const 0)
      (i64.add
        (local.get 7)
        (i64.const 4)))
    (return
      (local.get 1))
    (unreachable)
    (unreachable))
