package realkafka

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Listener is one more listener of a broker, beside the plain one that the package talks to it on.
type Listener struct {
	Name     string // of capital letters, "SECURE"
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
	// Properties of this listener, without listener.name.NAME. in front.
	Properties map[string]string
}

// WithListeners returns the options with the listeners added, for a cluster of one broker, and the address of each by
// its name. The plain listener stays as it is: with the authorizer of [Authorizer] its user, User:ANONYMOUS, may
// do everything.
func WithListeners(t testing.TB, opts Options, listeners ...Listener) (Options, map[string]string) {
	t.Helper()
	ports, err := freePorts(len(listeners))
	if err != nil {
		t.Fatal(err)
	}
	set := maps.Clone(opts.Properties)
	if set == nil {
		set = map[string]string{}
	}
	addrs := map[string]string{}
	at, protocols := Default, Default
	for i, l := range listeners {
		addrs[l.Name] = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))
		at += fmt.Sprintf(",%s://%s", l.Name, addrs[l.Name])
		protocols += fmt.Sprintf(",%s:%s", l.Name, l.Protocol)
		for _, k := range slices.Sorted(maps.Keys(l.Properties)) {
			set["listener.name."+strings.ToLower(l.Name)+"."+k] = l.Properties[k]
		}
	}
	set["listeners"], set["advertised.listeners"], set["listener.security.protocol.map"] = at, at, protocols
	opts.Properties = set
	return opts, addrs
}

// Authorizer are the properties of a cluster in which users may do only what ACLs allow. Clients of the plain listener
// are exempt.
var Authorizer = map[string]string{
	"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
	"super.users":           "User:ANONYMOUS",
}
