// Command faults runs real workers on a real Apache Kafka, breaks things while they work, and has a checker decide from
// outside what was lost.
//
//	go run ./bench/faults [-only F1,F7] [-seed 1] [-json FILE] [-binary bin/gradstream] [-keep]
//
// Every row of its table is one fault. A row
//   - starts `gradstream run` processes (vectorize, logistic_regression, evaluate; 4 partitions, a task each; commit every
//     50 ms, local checkpoint every second) whose every byte to and from the brokers goes through a proxy that
//     understands Kafka's frames, while a generator produces events with unique ids past the proxy,
//   - injects its fault and heals it,
//   - waits until all that was produced is committed, and stops the workers in good order,
//   - lets package checker read the topics, the group's offsets and the state folders,
//   - runs one undisturbed worker over the same input and compares the digests of all operators' state, task by task.
//
// # Columns
//
//   - injections: what was seen to happen, counted by the proxy, by the brokers' answers, by the processes' exits or
//     logs. A row one of whose counters is 0 is "not seen" and counts as a failure.
//   - events: records that were produced. lost, dup: ids that are not in the output, or more than once. viol: all
//     violations of the checker's rules. wrong: tasks whose final state differs from the undisturbed worker's, of how many
//     were compared.
//   - hole: the longest time that a task's committed output stood still once the fault had begun and while events
//     came, as a read_committed consumer saw it: for a crash the time from kill to the next committed output.
//
// Rows with models of 16 MiB break down what a takeover took: until the group gave the task to its new worker, the
// fence, loading the state, and the replay. F30, the soak, is run only if it is named: -only F30.soak, or make soak.
//
// Faults that cannot be injected from outside, or here, have a row that says why and where they are tested.
//
// It needs Linux, java and mvn. Rows that need more (a tmpfs, a memory limit) say so if it is refused. Nothing is left behind:
// workers and brokers end with it, data lie in a temporary folder unless -keep.
package main
