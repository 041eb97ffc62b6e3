// Package realkafka runs a real Apache Kafka for tests and benchmarks: no container, no installation, just Java and
// the jars of Maven Central. The embedded broker is quicker and serves most tests; this package is for what it cannot
// show: replication, fail-over, a broker killed in mid-write, fencing as the real coordinator does it, Kafka's own
// tools as readers of what we wrote, and honest throughput figures.
//
// # In a test
//
//	kafka := realkafka.Start(t, realkafka.Options{})            // one broker, data in t.TempDir(), gone with the test
//	kafka := realkafka.Start(t, realkafka.Options{Brokers: 3})  // three, replication 3, min.insync.replicas 2
//	addr := realkafka.Shared(t)                                 // one broker for all tests of the process
//
//	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Addrs()...))
//	kafka.Broker(0).Kill()      // SIGKILL
//	kafka.Broker(0).Restart(t)  // same ports, same data
//	kafka.Broker(1).Pause()     // SIGSTOP: the peer that neither answers nor closes its connections
//	kafka.Broker(1).Resume()
//
// A client that opens a connection to a paused broker waits for its handshake as long as kgo.RequestTimeoutOverhead says
// (10 s), whatever its context.
//
// With [Options.Advertise] brokers name other addresses than their own, so that clients go through a proxy.
//
// Tests that share a broker must name their topics, groups and transactional ids apart and must not harm it.
// [Run] and [Cluster.Close] do the same without a test, for benchmarks; the command cmd/kafkabroker runs one from the
// shell and prints its address:
//
//	go run ./internal/testutil/realkafka/cmd/kafkabroker -port 9092
//
// # What it needs
//
// Java 17 or newer ($JAVA_HOME/bin/java, else java on the PATH) and, the first time, mvn. The jars (53 files, 45 MB)
// are copied once into the user's cache folder, gradstream/kafka-VERSION/HASH, under a file lock, and renamed into place when complete; pom.xml
// beside this file pins the version. Where java or mvn is missing the test is skipped, as it is with -short.
//
// # Environment
//
//   - GRADSTREAM_REQUIRE_KAFKA=1: fail where the test would be skipped. For continuous integration.
//   - GRADSTREAM_TEST_KAFKA=host:port[,host:port…]: [Shared] uses this cluster and starts nothing, so that the
//     packages of one test run can share one broker's start. [Start] ignores it: its callers may break the brokers.
//
// # How the cluster is set up
//
// Every process is broker and controller (KRaft), bound to 127.0.0.1, formatted by Kafka's own storage tool with its
// default features, so transactions are of version 2. Topics are never created by accident
// (auto.create.topics.enable=false); groups form without the initial delay; internal topics have 8 partitions rather
// than 50; a broker that is killed or paused counts as dead after 3 seconds rather than 9, and may come back no sooner. Everything else is Kafka's default unless [Options.Properties] says otherwise. Java gets a 512 MB heap and G1.
//
// # What is left behind
//
// Nothing but the cached jars. A cluster ends with its test. When the test binary is killed, Linux kills the brokers with it
// (Pdeathsig); on other systems they stay, except for the one of [Shared], which a small shell process ends and clears
// away as soon as the process that started it is gone, however it went.
package realkafka
