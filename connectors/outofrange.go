package connectors

import "fmt"

// OutOfRangeError is returned by a [Feed] that is to read from an offset that its
// partition no longer holds, or does not hold yet: retention has passed it, or the
// topic has lost its end or was made anew. A feed never skips to where it can.
type OutOfRangeError struct {
	TopicPartition
	Offset     int64 // the offset asked for
	Start, End int64 // the log's first offset and its end, as far as committed; -1 = could not be asked
}

func (e *OutOfRangeError) Error() string {
	switch {
	case e.Start < 0:
		return fmt.Sprintf("%v has no offset %d", e.TopicPartition, e.Offset)
	case e.Offset < e.Start:
		return fmt.Sprintf("%v has no offset %d any more: its log starts at %d; retention has removed %d offsets that were still needed",
			e.TopicPartition, e.Offset, e.Start, e.Start-e.Offset)
	}
	return fmt.Sprintf("%v has no offset %d: its log ends at %d; the topic has lost records or was created anew", e.TopicPartition, e.Offset, e.End)
}
