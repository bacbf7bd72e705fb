
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i32 i64 i32 i64 i64 i32 i64)
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
        (i32.const 2))
      (then
        (return_call $leave_short
          (local.get 6)
          (i32.const 0)
          (local.get 1))))
    (local.set 4
      (i64.load offset=x10
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 2)))
    (if  ;; label = @1
      (i32.ne
        (i32.load offset=fpState
          (i32.const 0))
        (i32.const 2))
      (then
        (if  ;; label = @2
          (i32.eqz
            (i32.load offset=fpState
              (i32.const 0)))
          (then
            (i32.store offset=exit
              (i32.const 0)
              (i32.const 4))
            (return_call $leave
              (local.get 6)
              (i32.const 131072)
              (local.get 1))))
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
        (if  ;; label = @2
          (i32.eqz
            (i64.eq
              (i64.load
                (local.get 9))
              (i64.and
                (i64.add
                  (local.get 8)
                  (i64.const 7))
                (i64.const -4096))))
          (then
            (return_call $miss
              (local.get 6)
              (i32.const 131072)
              (local.get 1)
              (local.get 2))))
        (local.set 10
          (i64.load
            (i32.add
              (i32.wrap_i64
                (local.get 8))
              (i32.load offset=16
                (local.get 9)))))
        (local.set 5
          (local.get 10))
        (call $float_enter
          (i32.const 0)))
      (else
        (local.set 11
          (local.get 4))
        (local.set 12
          (i32.add
            (local.get 7)
            (i32.and
              (i32.shr_u
                (i32.wrap_i64
                  (local.get 11))
                (i32.const 7))
              (i32.const 524256))))
        (if  ;; label = @2
          (i32.eqz
            (i64.eq
              (i64.load
                (local.get 12))
              (i64.and
                (i64.add
                  (local.get 11)
                  (i64.const 7))
                (i64.const -4096))))
          (then
            (return_call $miss
              (local.get 6)
              (i32.const 131072)
              (local.get 1)
              (local.get 2))))
        (local.set 13
          (i64.load
            (i32.add
              (i32.wrap_i64
                (local.get 11))
              (i32.load offset=16
                (local.get 12)))))
        (local.set 5
          (local.get 13))))
    (i64.store offset=f10
      (i32.const 0)
      (local.get 5))
    (local.set 13
      (i64.add
        (local.get 4)
        (i64.const 8)))
    (local.set 12
      (i32.add
        (local.get 7)
        (i32.and
          (i32.shr_u
            (i32.wrap_i64
              (local.get 13))
            (i32.const 7))
          (i32.const 524256))))
    (if  ;; label = @1
      (i32.eqz
        (i64.eq
          (i64.load offset=8
            (local.get 12))
          (i64.and
            (i64.add
              (local.get 13)
              (i64.const 7))
            (i64.const -4096))))
      (then
        (return_call $miss
          (local.get 6)
          (i32.const 65538)
          (local.get 1)
          (local.get 2))))
    (i64.store
      (i32.add
        (i32.wrap_i64
          (local.get 13))
        (i32.load offset=16
          (local.get 12)))
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
