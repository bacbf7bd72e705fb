# Two processes that talk over loopback: system calls, context switches, the network stack.
prepare() {
  ip link set lo up
  redis-server --port 7001 --save '' --daemonize yes --dir .
  until redis-cli -p 7001 ping; do sleep 0.2; done
}
work() {
  redis-benchmark -p 7001 -q -n 400 -c 20 -r 1000 -t set,get,incr,lpush,lrange_100 >/dev/null
  redis-cli -p 7001 llen mylist
}
