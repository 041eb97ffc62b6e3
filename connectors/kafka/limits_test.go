package kafka

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLimitsWhileAsking has producers ask how large a batch may be while a broker does
// not answer a task that would learn it: they are told at once, and later what it said.
func TestLimitsWhileAsking(t *testing.T) {
	t.Parallel()
	e := fake(t)
	c := e.open(t, 1, func(o *Options) { o.Outputs = []string{e.name + ".out"} })
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.fake.ControlKey(int16(kmsg.DescribeConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { close(asked) })
		e.fake.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	var learning sync.WaitGroup
	learning.Go(func() { c.learnLimits(testContext(t)) })
	<-asked
	told := make(chan int32)
	go func() { told <- c.batchLimit(e.name + ".out") }()
	select {
	case n := <-told:
		if n != defaultBatchBytes {
			t.Errorf("%d bytes before anything is learnt, want %d", n, defaultBatchBytes)
		}
	case <-testContext(t).Done():
		t.Error("a producer waits for a broker")
	}
	close(answer)
	learning.Wait()
	if n := c.batchLimit(e.name + ".out"); n == defaultBatchBytes || !c.limits.known() {
		t.Errorf("%d bytes, which is not what the broker says", n)
	}
}
