
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i32 i64 i32)
    (local.set 3
      (i32.load offset=jumpCache
        (i32.const 0)))
    (local.set 6
      (i64.sub
        (local.get 0)
        (i64.const 0)))
    (local.set 7
      (i32.load offset=dataTlb
        (i32.const 0)))
    (if  ;; label = @1
      (i32.lt_s
        (local.get 1)
        (i32.const 1))
      (then
        (return_call $leave_short
          (local.get 6)
          (i32.const 0)
          (local.get 1))))
    (local.set 4
      (i64.load offset=x11
        (i32.const 0)))
    (local.set 5
      (i64.load offset=x12
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 1)))
    (local.set 8
      (local.get 4))
    (local.set 9
      (i32.add
        (local.get 7)
        (i32.and
          (i32.shr_u
            (i32.wrap_i64
              (local.get 8))
            (i32.const 7))
          (i32.const 524256))))
    (if  ;; label = @1
      (i32.eqz
        (i64.eq
          (i64.load offset=8
            (local.get 9))
          (i64.and
            (local.get 8)
            (i64.const -4096))))
      (then
        (return_call $miss
          (local.get 6)
          (i32.const 65536)
          (local.get 1)
          (local.get 2))))
    (i64.store8
      (i32.add
        (i32.wrap_i64
          (local.get 8))
        (i32.load offset=16
          (local.get 9)))
      (local.get 5))
    (i64.store offset=pc
      (i32.const 0)
      (i64.add
        (local.get 6)
        (i64.const 4)))
    (return
      (local.get 1))
    (unreachable)
    (unreachable))
