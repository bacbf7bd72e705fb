
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i64 i32 i64 i64 i32 i64 i64)
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
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 1)))
    (local.set 4
      (i64.add
        (local.get 7)
        (i64.const 4)))
    (i64.store offset=x1
      (i32.const 0)
      (local.get 4))
    (local.set 9
      (i64.add
        (local.get 7)
        (i64.const 4096)))
    (local.set 10
      (i64.add
        (local.get 7)
        (i64.const 4)))
    (local.set 11
      (i32.add
        (local.get 3)
        (i32.and
          (i32.shl
            (i32.wrap_i64
              (local.get 9))
            (i32.const 3))
          (i32.const 131056))))
    (if  ;; label = @1
      (if (result i32)  ;; label = @2
        (i64.eq
          (i64.load
            (local.get 11))
          (local.get 9))
        (then
          (i32.gt_s
            (local.get 2)
            (i32.const 0)))
        (else
          (i32.const 0)))
      (then
        (local.set 1
          (call_indirect
            (local.get 9)
            (local.get 1)
            (i32.sub
              (local.get 2)
              (i32.const 1))
            (i32.load offset=8
              (local.get 11))))
        (if  ;; label = @2
          (i32.lt_s
            (local.get 1)
            (i32.const 0))
          (then
            (return
              (local.get 1))))
        (if  ;; label = @2
          (i64.ne
            (i64.load offset=pc
              (i32.const 0))
            (local.get 10))
          (then
            (local.set 1
              (call $resume
                (local.get 1)
                (local.get 2)
                (local.get 10)))
            (if  ;; label = @3
              (i32.lt_s
                (local.get 1)
                (i32.const 0))
              (then
                (return
                  (local.get 1)))))))
      (else
        (local.set 1
          (call $invoke
            (local.get 9)
            (local.get 1)
            (local.get 2)
            (local.get 10)))
        (if  ;; label = @2
          (i32.lt_s
            (local.get 1)
            (i32.const 0))
          (then
            (return
              (local.get 1))))))
    (if  ;; label = @1
      (i32.lt_s
        (local.get 1)
        (i32.const 2))
      (then
        (return_call $leave_short
          (local.get 7)
          (i32.const 4)
          (local.get 1))))
    (local.set 4
      (i64.load offset=x1
        (i32.const 0)))
    (local.set 5
      (i64.load offset=x8
        (i32.const 0)))
    (local.set 6
      (i64.load offset=x10
        (i32.const 0)))
    (local.set 1
      (i32.sub
        (local.get 1)
        (i32.const 2)))
    (local.set 6
      (i64.add
        (local.get 6)
        (local.get 5)))
    (i64.store offset=x10
      (i32.const 0)
      (local.get 6))
    (local.set 12
      (i64.and
        (local.get 4)
        (i64.const -2)))
    (local.set 13
      (i64.add
        (local.get 7)
        (i64.const 8)))
    (i64.store offset=pc
      (i32.const 0)
      (local.get 12))
    (return
      (local.get 1))
    (unreachable)
    (unreachable))
