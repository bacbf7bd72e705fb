
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i32 i64 i64)
    (local.set 3
      (i32.load offset=jumpCache
        (i32.const 0)))
    (local.set 13
      (i64.sub
        (local.get 0)
        (i64.const 0)))
    (local.set 14
      (i32.load offset=dataTlb
        (i32.const 0)))
    (if  ;; label = @1
      (i32.lt_s
        (local.get 1)
        (i32.const 3))
      (then
        (return_call $leave_short
          (local.get 13)
          (i32.const 0)
          (local.get 1))))
    (local.set 4
      (i64.load offset=x5
        (i32.const 0)))
    (local.set 6
      (i64.load offset=x11
        (i32.const 0)))
    (local.set 7
      (i64.load offset=x12
        (i32.const 0)))
    (local.set 9
      (i64.load offset=x14
        (i32.const 0)))
    (local.set 10
      (i64.load offset=x15
        (i32.const 0)))
    (local.set 12
      (i64.load offset=x17
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 3)))
    (local.set 5
      (i64.add
        (i64.shl
          (local.get 6)
          (i64.const 1))
        (local.get 7)))
    (local.set 15
      (local.get 9))
    (local.set 16
      (local.get 10))
    (local.set 8
      (select
        (local.get 15)
        (local.get 16)
        (i64.gt_u
          (local.get 15)
          (local.get 16))))
    (local.set 11
      (i64.or
        (local.get 12)
        (i64.shl
          (i64.const 1)
          (local.get 4))))
    (i64.store offset=x10
      (i32.const 0)
      (local.get 5))
    (i64.store offset=x13
      (i32.const 0)
      (local.get 8))
    (i64.store offset=x16
      (i32.const 0)
      (local.get 11))
    (i64.store offset=pc
      (i32.const 0)
      (i64.add
        (local.get 13)
        (i64.const 12)))
    (return
      (local.get 1))
    (unreachable)
    (unreachable))
