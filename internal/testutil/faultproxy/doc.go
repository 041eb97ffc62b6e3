// Package faultproxy puts faults between Kafka clients and brokers: a TCP proxy that understands the frames of
// Kafka's protocol well enough to lose one EndTxn's answer, hold one Produce back until the client has gone on, or cut
// every connection, and that counts what it did.
//
//	proxies, err := faultproxy.New(1, faultproxy.Options{})       // ports are taken now
//	kafka := realkafka.Start(t, realkafka.Options{Advertise: proxies.Addr})
//	proxies.Target(0, kafka.Broker(0).Addr())
//	lost := proxies.Add(faultproxy.Rule{
//		Match:  faultproxy.Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "clicks/0/out"},
//		Action: faultproxy.DropResponse,
//	})
//	… run clients on proxies.Addrs() …
//	if lost.Observed() == 0 { t.Error("the fault was never injected") }
//
// There is one [Proxy] a broker; a broker must advertise its proxy's address (realkafka.Options.Advertise, or
// [Listener] with a broker inside the process), or clients would walk around it. Connections are plain TCP: TLS hides
// what rules look at.
//
// # What is faithful
//
// A TCP connection neither reorders nor loses bytes in its middle. So a request or answer that is dropped takes
// its connection with it, at once or, with Silent, by never carrying anything again; one that is delayed or held keeps what
// comes behind it waiting. A request that was held is delivered to the broker even if its client has long
// gone, as it would be out of the socket's buffer of a slow broker: that is how an EndTxn ends a later transaction.
//
// # What counts
//
// [Injection.Hits] counts requests chosen by a rule. [Injection.Observed] counts faults that came to pass: a dropped
// answer had arrived from the broker, the broker answered the duplicate, the late or the held request, a late answer went
// on. A test that wants a fault asks for the latter. A request to which there is no answer, a Produce with acks=0, is
// never observed late or held.
package faultproxy
