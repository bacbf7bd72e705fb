
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i32 i64 i64 i32)
    (local.set 3
      (i32.load offset=jumpCache
        (i32.const 0)))
    (local.set 5
      (i64.sub
        (local.get 0)
        (i64.const 0)))
    (local.set 6
      (i32.load offset=dataTlb
        (i32.const 0)))
    (if  ;; label = @1
      (i32.lt_s
        (local.get 1)
        (i32.const 1))
      (then
        (return_call $leave_short
          (local.get 5)
          (i32.const 0)
          (local.get 1))))
    (local.set 4
      (i64.load offset=x15
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 1)))
    (local.set 7
      (i64.and
        (local.get 4)
        (i64.const -2)))
    (local.set 8
      (i64.add
        (local.get 5)
        (i64.const 2)))
    (local.set 8
      (local.get 7))
    (local.set 9
      (i32.add
        (local.get 3)
        (i32.and
          (i32.shl
            (i32.wrap_i64
              (local.get 8))
            (i32.const 3))
          (i32.const 131056))))
    (if  ;; label = @1
      (i64.eq
        (i64.load
          (local.get 9))
        (local.get 8))
      (then
        (return_call_indirect
          (local.get 8)
          (local.get 1)
          (local.get 2)
          (i32.load offset=8
            (local.get 9)))))
    (return_call $chain
      (local.get 8)
      (local.get 1)
      (local.get 2))
    (unreachable)
    (unreachable))
