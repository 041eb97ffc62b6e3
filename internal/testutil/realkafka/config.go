package realkafka

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what cluster to run. The zero value is one broker with the package's defaults.
type Options struct {
	// Brokers is the number of processes, each broker and controller: 1 (the default) or 3.
	Brokers int
	// Properties are added to every broker's server.properties and override what the package sets.
	Properties map[string]string
	// Port is the first broker's port on 127.0.0.1; the others take the following ones. 0 picks free ports.
	Port int
	// Advertise says where clients are told to find broker i, from 0: host:port, such as a proxy in front of
	// [Broker.Addr], which may start later. Brokers then talk to each other on listeners of their own. nil: the brokers
	// themselves, on one listener.
	Advertise func(i int) string
	// AdvertisePeers says likewise where the other brokers are told to find broker i, whose address for them is
	// [Broker.PeerAddr]. nil: that one.
	AdvertisePeers func(i int) string
	// HeapMB is each broker's largest Java heap in MiB. Default 512.
	HeapMB int
	// JVMArgs are further arguments of each broker's Java.
	JVMArgs []string
	// StartTimeout bounds one start of the cluster or of a broker, jars not counted. Default 2 minutes.
	StartTimeout time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.Brokers != 1 && o.Brokers != 3 {
		return o, fmt.Errorf("realkafka: %d brokers; expected 1 or 3", o.Brokers)
	}
	if o.HeapMB == 0 {
		o.HeapMB = 512
	}
	if o.HeapMB < 0 || o.Port < 0 || o.Port+o.Brokers > 1<<16 || o.StartTimeout < 0 {
		return o, errors.New("realkafka: HeapMB, Port or StartTimeout out of range")
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 2 * time.Minute
	}
	return o, nil
}

// Default stands in a value of [Options.Properties] for what the package sets.
const Default = "${default}"

// properties returns the text of one broker's server.properties: the package's settings with extra over them.
func properties(id, port, controllerPort int, bootstrap string, logDir string, brokers int, extra map[string]string) string {
	minISR := 1
	if brokers > 1 {
		minISR = brokers - 1 // one may fail
	}
	n, isr := strconv.Itoa(brokers), strconv.Itoa(minISR)
	set := map[string]string{
		"process.roles":                       "broker,controller",
		"node.id":                             strconv.Itoa(id),
		"controller.quorum.bootstrap.servers": bootstrap,
		"listeners":                           fmt.Sprintf("BROKER://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, controllerPort),
		"advertised.listeners":                fmt.Sprintf("BROKER://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, controllerPort),
		"listener.security.protocol.map":      "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":          "BROKER",
		"controller.listener.names":           "CONTROLLER",
		"log.dirs":                            logDir,

		"default.replication.factor":                       n,
		"min.insync.replicas":                              isr,
		"offsets.topic.replication.factor":                 n,
		"transaction.state.log.replication.factor":         n,
		"transaction.state.log.min.isr":                    isr,
		"share.coordinator.state.topic.replication.factor": n,
		"share.coordinator.state.topic.min.isr":            isr,

		// 50 by default; with so few brokers the rest only costs start time and files.
		"offsets.topic.num.partitions":                 "8",
		"transaction.state.log.num.partitions":         "8",
		"share.coordinator.state.topic.num.partitions": "8",

		// 9 s and 2 s by default. For that long a killed broker may not come back and its partitions have no leader.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",

		"group.initial.rebalance.delay.ms": "0",
		"auto.create.topics.enable":        "false",
		// 128 MB of a small heap by default.
		"log.cleaner.dedupe.buffer.size": strconv.Itoa(16 << 20),
	}
	for k, v := range extra {
		set[k] = strings.ReplaceAll(v, Default, set[k])
	}
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s=%s\n", escape.Replace(k), escape.Replace(set[k]))
	}
	return b.String()
}

// advertised returns properties that give clients and brokers a listener each and tell them the addresses of opts.
func advertised(opts Options, i, port, peerPort, controllerPort int) (map[string]string, error) {
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	clients, peers := at(port), at(peerPort)
	for _, a := range []struct {
		to  *string
		say func(i int) string
	}{{&clients, opts.Advertise}, {&peers, opts.AdvertisePeers}} {
		if a.say == nil {
			continue
		}
		*a.to = a.say(i)
		if _, _, err := net.SplitHostPort(*a.to); err != nil {
			return nil, fmt.Errorf("realkafka: the address to advertise for broker %d: %w", i, err)
		}
	}
	set := map[string]string{
		"listeners":                      fmt.Sprintf("BROKER://%s,CLIENT://%s,CONTROLLER://%s", at(peerPort), at(port), at(controllerPort)),
		"advertised.listeners":           fmt.Sprintf("BROKER://%s,CLIENT://%s,CONTROLLER://%s", peers, clients, at(controllerPort)),
		"listener.security.protocol.map": "BROKER:PLAINTEXT,CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	}
	maps.Copy(set, opts.Properties)
	return set, nil
}

// escape writes keys and values so that Java reads them back from a properties file, backslashes of Windows paths included.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// log4j sends the broker's log to its standard output; tools print results there, so theirs goes to standard error.
func log4j(level, target string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <Console name="console" target="` + target + `"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <!-- It prints all settings, several times over: hundreds of lines that hide the rest. -->
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="warn"/>
    <Root level="` + level + `"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
`
}

// newUUID returns an id as Kafka prints its own: 16 random bytes in base64 for URLs.
func newUUID() string {
	for {
		var b [16]byte
		rand.Read(b[:])
		// A leading dash would read as an option on a command line.
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' {
			return s
		}
	}
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePorts returns n ports of 127.0.0.1 that nothing listens on and that this process has not been given before. They
// lie below the range from which systems take ports for outgoing connections, so a broker that restarts finds its own again.
func freePorts(n int) ([]int, error) {
	const low, high = 15000, 32000
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	var free []int
	for range 10000 {
		if len(free) == n {
			return free, nil
		}
		port := low + mathrand.IntN(high-low)
		if !ports.given[port] && portFree(port) {
			ports.given[port] = true
			free = append(free, port)
		}
	}
	return nil, errors.New("realkafka: no free ports on 127.0.0.1")
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
