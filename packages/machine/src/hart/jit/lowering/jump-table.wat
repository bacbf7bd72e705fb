
  (func (param i64 i32 i32) (result i32)
    (local i32 i64 i64 i64 i64 i64 i64 i32 i64 i64 i64 i64 i64 i32)
    (local.set 3
      (i32.load offset=jumpCache
        (i32.const 0)))
    (local.set 9
      (i64.sub
        (local.get 0)
        (i64.const 0)))
    (local.set 10
      (i32.load offset=dataTlb
        (i32.const 0)))
    (local.set 4
      (i64.load offset=x1
        (i32.const 0)))
    (local.set 5
      (i64.load offset=x8
        (i32.const 0)))
    (local.set 6
      (i64.load offset=x10
        (i32.const 0)))
    (local.set 7
      (i64.load offset=x11
        (i32.const 0)))
    (local.set 8
      (i64.load offset=x15
        (i32.const 0)))
    (loop  ;; label = @1
      (if  ;; label = @2
        (i32.lt_s
          (local.get 1)
          (i32.const 3))
        (then
          (return_call $leave_short
            (local.get 9)
            (i32.const 0)
            (local.get 1))))
      (local.set 1
        (i32.sub
          (local.get 1)
          (i32.const 1)))
      (local.set 11
        (i64.and
          (local.get 8)
          (i64.const -2)))
      (local.set 12
        (i64.add
          (local.get 9)
          (i64.const 2)))
      (local.set 12
        (i64.sub
          (local.get 11)
          (local.get 9)))
      (if  ;; label = @2
        (i64.lt_s
          (local.get 12)
          (i64.const 6))
        (then
          (if  ;; label = @3
            (i64.eq
              (local.get 12)
              (i64.const 2))
            (then
              (local.set 1
                (i32.sub
                  (local.get 1)
                  (i32.const 2)))
              (local.set 7
                (i64.add
                  (local.get 7)
                  (i64.const 1)))
              (i64.store offset=x11
                (i32.const 0)
                (local.get 7))
              (local.set 13
                (i64.add
                  (local.get 9)
                  (i64.const 6)))
              (br 2 (;@1;)))))
        (else
          (if  ;; label = @3
            (i64.lt_s
              (local.get 12)
              (i64.const 10))
            (then
              (if  ;; label = @4
                (i64.eq
                  (local.get 12)
                  (i64.const 6))
                (then
                  (local.set 1
                    (i32.sub
                      (local.get 1)
                      (i32.const 2)))
                  (local.set 7
                    (i64.add
                      (local.get 7)
                      (i64.const 2)))
                  (i64.store offset=x11
                    (i32.const 0)
                    (local.get 7))
                  (local.set 13
                    (i64.and
                      (local.get 4)
                      (i64.const -2)))
                  (local.set 14
                    (i64.add
                      (local.get 9)
                      (i64.const 10)))
                  (i64.store offset=pc
                    (i32.const 0)
                    (local.get 13))
                  (return
                    (local.get 1)))))
            (else
              (if  ;; label = @4
                (i64.eq
                  (local.get 12)
                  (i64.const 10))
                (then
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
                  (local.set 14
                    (i64.and
                      (local.get 4)
                      (i64.const -2)))
                  (local.set 15
                    (i64.add
                      (local.get 9)
                      (i64.const 14)))
                  (i64.store offset=pc
                    (i32.const 0)
                    (local.get 14))
                  (return
                    (local.get 1))))))))
      (local.set 15
        (local.get 11))
      (local.set 16
        (i32.add
          (local.get 3)
          (i32.and
            (i32.shl
              (i32.wrap_i64
                (local.get 15))
              (i32.const 3))
            (i32.const 131056))))
      (if  ;; label = @2
        (i64.eq
          (i64.load
            (local.get 16))
          (local.get 15))
        (then
          (return_call_indirect
            (local.get 15)
            (local.get 1)
            (local.get 2)
            (i32.load offset=8
              (local.get 16)))))
      (return_call $chain
        (local.get 15)
        (local.get 1)
        (local.get 2)))
    (unreachable)
    (unreachable))
