# Processes that begin and end: page faults, copy on write, exec, page tables.
work() {
  i=0
  while [ $i -lt 100 ]; do
    /bin/true
    (i=$i)
    i=$((i + 1))
  done
  echo $i
}
