"""paho against a broker that lets everybody in: clients.py HOST PORT. Called by clients.sh."""
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT = sys.argv[1], int(sys.argv[2])
failed = []


def check(name, got, expected):
    print(("ok   " if got == expected else "FAIL ") + name + ("" if got == expected else f": got {got!r}, expected {expected!r}"))
    if got != expected:
        failed.append(name)


def client(name, protocol):
    inbox = queue.Queue()
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
    made.on_message = lambda _c, _u, message: inbox.put(message)
    subscribed = queue.Queue()
    made.on_subscribe = lambda _c, _u, _mid, codes, _p: subscribed.put(codes)
    made.connect(HOST, PORT)
    made.loop_start()
    return made, inbox, subscribed


def end(*clients):
    for made in clients:
        made.disconnect()
        made.loop_stop()


for protocol, label in ((mqtt.MQTTv311, "v3.1.1"), (mqtt.MQTTv5, "v5")):
    taker, inbox, subscribed = client("paho-taker", protocol)
    giver, _, _ = client("paho-giver", protocol)
    taker.subscribe("paho/#", qos=2)
    subscribed.get(timeout=10)
    for qos in (0, 1, 2):
        giver.publish(f"paho/{qos}", f"é {qos}".encode(), qos=qos).wait_for_publish(10)
        got = inbox.get(timeout=10)
        check(f"paho {label} QoS {qos}", (got.topic, got.payload.decode(), got.qos), (f"paho/{qos}", f"é {qos}", qos))
    end(taker, giver)

one, inbox_one, ready_one = client("paho-one", mqtt.MQTTv5)
two, inbox_two, ready_two = client("paho-two", mqtt.MQTTv5)
for made, ready in ((one, ready_one), (two, ready_two)):
    made.subscribe("$share/g/work/+", options=SubscribeOptions(qos=1))
    ready.get(timeout=10)
giver, _, _ = client("paho-giver", mqtt.MQTTv5)
for number in range(10):
    properties = Properties(PacketTypes.PUBLISH)
    properties.TopicAlias = 1
    properties.UserProperty = ("n", str(number))
    giver.publish("work/a", str(number), qos=1, properties=properties).wait_for_publish(10)
got = [[int(inbox.get(timeout=10).payload) for _ in range(5)] for inbox in (inbox_one, inbox_two)]
check("paho v5 shared subscription and topic alias", sorted(got[0] + got[1]), list(range(10)))
end(one, two, giver)
sys.exit(bool(failed))
