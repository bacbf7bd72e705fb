# busybox ash: parsing, variables, arithmetic.
work() {
  i=0
  sum=0
  while [ $i -lt 30000 ]; do
    case $i in *7) sum=$((sum + i)) ;; *) sum=$((sum ^ i)) ;; esac
    i=$((i + 1))
  done
  echo $sum
}
