#!/bin/sh
# Independent clients against Spalla's broker: mosquitto_pub and mosquitto_sub (Debian: apt-get install mosquitto-clients)
# and paho (PyPI: pip install paho-mqtt). Optional: what is not installed is skipped, and said.
#
#   broker/tests/clients.sh            starts the broker by itself (cargo run --example open_broker)
#   broker/tests/clients.sh 127.0.0.1 1883    against one that runs and lets everybody in
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null; rm -rf "$work"' EXIT
if [ $# -ge 2 ]; then
  host=$1 port=$2
else
  cargo build -q --example open_broker
  target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  "$target/debug/examples/open_broker" >"$work/port" &
  broker=$!
  host=127.0.0.1
  n=0
  until [ -s "$work/port" ]; do n=$((n + 1)); [ $n -lt 200 ] || { echo "the broker did not start"; exit 1; }; sleep 0.05; done
  port=$(cat "$work/port")
fi
failed=0
check() { if [ "$2" = "$3" ]; then echo "ok   $1"; else echo "FAIL $1: got '$2', expected '$3'"; failed=1; fi; }

if command -v mosquitto_pub >/dev/null && command -v mosquitto_sub >/dev/null; then
  for version in mqttv311 mqttv5; do
    for qos in 0 1 2; do
      topic="clients/$version/é/$qos"
      mosquitto_pub -h "$host" -p "$port" -V $version -q $qos -r -t "$topic" -m "kept $qos"
      got=$(mosquitto_sub -h "$host" -p "$port" -V $version -q $qos -t "$topic" -C 1 -W 5 -F '%r %q %p')
      check "$version retained at QoS $qos" "$got" "1 $qos kept $qos"
    done
    mosquitto_sub -h "$host" -p "$port" -V $version -q 1 -c -i "sleeper-$version" -t "clients/away/$version" -E $([ $version = mqttv5 ] && echo -x 100)
    for n in 1 2 3; do mosquitto_pub -h "$host" -p "$port" -V $version -q 1 -t "clients/away/$version" -m $n; done
    got=$(mosquitto_sub -h "$host" -p "$port" -V $version -q 1 -c -i "sleeper-$version" -t "clients/away/$version" -C 3 -W 5 $([ $version = mqttv5 ] && echo -x 100) | tr '\n' ' ')
    check "$version what waited while away" "$got" "1 2 3 "
  done
  mosquitto_pub -h "$host" -p "$port" -V mqttv5 -q 1 -r -t clients/p -m x -D publish user-property k v -D publish content-type a/b -D publish message-expiry-interval 60
  got=$(mosquitto_sub -h "$host" -p "$port" -V mqttv5 -t clients/p -C 1 -W 5 -F '%C %P %p')
  check "mqttv5 properties" "$got" "a/b k:v x"
  seq 1 5000 | mosquitto_pub -h "$host" -p "$port" -V mqttv5 -q 1 -t clients/flood -l
  got=$(mosquitto_sub -h "$host" -p "$port" -t '$SYS/broker/version' -C 1 -W 12 | wc -l)
  check "\$SYS" "$got" "1"
else
  echo "skip mosquitto_pub, mosquitto_sub: not installed (apt-get install mosquitto-clients)"
fi

if command -v python3 >/dev/null && python3 -c 'import paho.mqtt' 2>/dev/null; then
  python3 tests/clients.py "$host" "$port" || failed=1
else
  echo "skip paho: not installed (pip install paho-mqtt)"
fi
exit $failed
