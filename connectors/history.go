package connectors

import "context"

// History is what a pipeline has left on the brokers, for those who only look at
// it: reading it takes no lock, joins no group and writes nothing, so it can be
// done while the pipeline runs.
type History interface {
	// Describe is that of [Admin].
	Describe(ctx context.Context, topics []string) (cluster string, infos []TopicInfo, err error)
	// ReadLog yields the committed records of a partition in order, from the offset
	// (or Earliest) up to the last stable offset there is when it is called. Where
	// retention has removed the records at from, it begins where the log does. An
	// error of yield ends it and is returned as it is. A record is borrowed for the
	// length of the call; its bytes may be kept.
	ReadLog(ctx context.Context, tp TopicPartition, from int64, yield func(r *Record) error) error
	// OffsetAt returns the offset of the first record whose timestamp is not before
	// the given one, milliseconds since 1970, or where the log ends.
	OffsetAt(ctx context.Context, tp TopicPartition, time int64) (int64, error)
	// Feed is that of [Cluster].
	Feed(ctx context.Context, from []Position) (Feed, error)
}

// PastState reads checkpoints as [History] reads logs: without a lock.
type PastState interface {
	// ReadState yields what is committed of a task's state, as LoadState of [StateLog]
	// does.
	ReadState(ctx context.Context, task int, yield func(key, value []byte) error) error
}
