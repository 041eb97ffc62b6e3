package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// phase is where in a transaction something happened.
type phase uint8

const (
	phaseBegin   phase = iota // nothing is sent yet
	phaseSend                 // produce, flush
	phaseOffsets              // TxnOffsetCommit
	phaseEnd                  // EndTxn, to commit
	phaseAbort                // EndTxn, to abort, and what replaces it
)

func (p phase) String() string {
	return [...]string{"beginning", "sending records", "sending offsets", "committing", "aborting"}[p]
}

// action is what to do about it.
type action uint8

const (
	actDone    action = iota // go on
	actResend                // abort, then send the same bytes again
	actResolve               // unknown: abort what may be open, then look into the journal
	actRetry                 // try the abort again
	actLost                  // another owner has the task: stop
	actFail                  // it cannot heal: abort and report
	actStop                  // the caller gave up, or the client is closed
)

func (a action) String() string {
	return [...]string{"done", "resend", "resolve", "retry", "lost", "fail", "stop"}[a]
}

// decide turns what a phase of a transaction returned into what to do next.
//
// Answers that mean that the id was taken, by any name the brokers of different
// versions and makes give them, are one class. So is INVALID_TXN_STATE: the
// transaction is not where this client thinks it is, and only a new client with
// the lock taken anew may go on. INVALID_PRODUCER_EPOCH is of that class where the
// coordinator says it, but not from a partition: there it may also mean that our
// own transaction timed out, and the abort tells which.
func decide(p phase, err error) action {
	if err == nil {
		return actDone
	}
	if errors.Is(err, connectors.ErrLost) {
		return actLost
	}
	if errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, errClosed) {
		return actStop
	}
	if unsafe(err) != "" {
		return actFail
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return actStop // the caller's: the client's own time-outs are other errors
		}
		ke = kerr.UnknownServerError // a connection that broke: the request may or may not have arrived
	}
	switch ke {
	case kerr.ProducerFenced, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping,
		kerr.TransactionCoordinatorFenced, kerr.TransactionalIDNotFound, kerr.FencedInstanceID:
		return actLost
	case kerr.InvalidProducerEpoch:
		if p == phaseSend || p == phaseOffsets {
			return actResend
		}
		return actLost
	case kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException, kerr.PolicyViolation,
		kerr.OffsetMetadataTooLarge, kerr.InvalidGroupID, kerr.InvalidTransactionTimeout, kerr.UnsupportedVersion,
		kerr.UnsupportedForMessageFormat, kerr.UnsupportedCompressionType, kerr.InvalidRequiredAcks,
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.SecurityDisabled:
		return actFail
	}
	switch p {
	case phaseBegin:
		// The client cannot go on from what the last transaction left: a new one
		// can, but only the engine may decide to take the lock again.
		if !kerr.IsRetriable(ke) && ke != kerr.UnknownServerError && ke != kerr.ConcurrentTransactions {
			return actLost
		}
	case phaseEnd:
		switch ke {
		case kerr.TransactionAbortable, kerr.OperationNotAttempted:
			return actResend // certainly not committed
		}
		// CONCURRENT_TRANSACTIONS, too, may be the answer to a second try of the client
		// while the first, whose answer was lost, is being carried out.
		return actResolve
	case phaseAbort:
		return actRetry
	}
	return actResend
}

// finalError reports whether retrying cannot help.
func finalError(err error) bool {
	if unsafe(err) != "" {
		return true
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return false
	}
	switch ke {
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism,
		kerr.UnsupportedVersion, kerr.InvalidGroupID, kerr.InvalidTransactionTimeout, kerr.InvalidTopicException,
		kerr.UnknownTopicOrPartition:
		return true
	}
	return false
}

// aclRemedy is where to find what a user needs.
const aclRemedy = ": gradstream topics FILE --acls lists what it needs"

// explain says what to do about an error, beside what it is.
func explain(doing string, err error) error {
	if remedy := unsafe(err); remedy != "" {
		return fmt.Errorf("%s: %w; %s", doing, err, remedy)
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	hint := ""
	switch ke {
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		hint = "; raise max.message.bytes of the topic, or publish fewer columns"
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		hint = "; the topic or the partition does not exist (any more): create it with gradstream topics"
	case kerr.TopicAuthorizationFailed:
		hint = "; this user lacks Read, Write, Create or Describe on the topic" + aclRemedy
	case kerr.GroupAuthorizationFailed:
		hint = "; this user lacks Read on the consumer group" + aclRemedy
	case kerr.TransactionalIDAuthorizationFailed:
		hint = "; this user lacks Write on the transactional ids that begin with the pipeline's name and a slash" + aclRemedy
	case kerr.ClusterAuthorizationFailed:
		hint = "; this user lacks a permission on the cluster, or Write on the topic that it writes to" + aclRemedy
	case kerr.OffsetMetadataTooLarge:
		hint = "; raise offset.metadata.max.bytes of the brokers"
	case kerr.InvalidTransactionTimeout:
		hint = "; raise transaction.max.timeout.ms of the brokers"
	case kerr.FencedInstanceID:
		hint = "; another process runs with the same instance id"
	}
	return fmt.Errorf("%s: %w%s", doing, err, hint)
}
