
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i64 i32 i64 i64 f64 i64)
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
      (i64.load offset=f11
        (i32.const 0)))
    (local.set 6
      (i64.load offset=f12
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 1)))
    (if  ;; label = @1
      (i32.or
        (i32.ne
          (i32.load offset=fpState
            (i32.const 0))
          (i32.const 2))
        (i32.gt_u
          (i32.load offset=frm
            (i32.const 0))
          (i32.const 4)))
      (then
        (call $float_enter
          (i32.const 1))
        (if  ;; label = @2
          (i32.ne
            (i32.load offset=exit
              (i32.const 0))
            (i32.const 0))
          (then
            (return_call $leave
              (local.get 7)
              (i32.const 65536)
              (local.get 1))))))
    (local.set 9
      (local.get 5))
    (local.set 10
      (local.get 6))
    (local.set 11
      (f64.add
        (f64.reinterpret_i64
          (local.get 9))
        (f64.reinterpret_i64
          (local.get 10))))
    (local.set 12
      (i64.reinterpret_f64
        (local.get 11)))
    (if  ;; label = @1
      (i32.or
        (i32.load offset=12
          (i32.const 0))
        (i32.eqz
          (f64.lt
            (f64.abs
              (local.get 11))
            (f64.const 0x1p+1023 (;=8.98847e+307;)))))
      (then
        (local.set 12
          (call $float.d.add
            (i32.const 7)
            (local.get 9)
            (local.get 10)))))
    (local.set 4
      (local.get 12))
    (i64.store offset=f10
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
