// Package checker decides from outside whether a pipeline kept its promise: it reads the pipeline's topics as any
// read_committed consumer can, and the state folders that workers left behind, and reports every violation with its task,
// step and offset. It shares no code with the engine: it parses journals by docs/format/journal.md alone, so a mistake in the
// engine's idea of its own records shows.
//
// Call [Check] once all workers have stopped:
//
//	report, err := checker.Check(ctx, checker.Options{
//		Brokers:  addrs,
//		Pipeline: "clicks",
//		Sources:  []checker.Source{{Name: "clicks", Topic: "clicks"}},
//		Outputs:  []string{"clicks.predictions"},
//		Drained:  true,
//		IDs:      []checker.IDs{{Source: "clicks", Output: "clicks.predictions", Of: id, In: id}},
//	})
//	if err == nil { err = report.Err() }
//
// # Rules
//
//   - [I1]: the journal of each task is one chain: a step follows an open record, its number is one more than the last,
//     its prev is the last one's hash, its own hash is right, the clock does not go back.
//   - [I2]: a step is one transaction. Its outputs and its journal record come from the same producer in the same epoch, no
//     other step shares the transaction, and neither is there without the other.
//   - [I4]: a checkpoint is a step of the journal, with its hash, its positions and, where the journal has one, its digest.
//   - [K1]: every input offset of every task is covered once: runs neither overlap nor go beyond the end, belong to the
//     task, and hold as many records as the step decoded; with Drained nothing is left.
//   - [K2]: outputs carry gs-id TASK/STEP/INDEX, each once, dense from 0, in order, as many as the journal says and with its hash.
//   - [K4]: the group's offsets are the journal's last positions, and their metadata name its last step.
//   - [K7]: a reader that ran beside the workers ([Watch]) saw what a later one finds, in the same order.
//   - [K8]: nothing in a journal comes from a producer or an epoch that another one's open record had replaced.
//   - [K9]: no transaction is open: the last stable offset of every partition is its end.
//   - [K11]: the errors topics hold exactly the records that the caller says are poison, untouched.
//   - [Once]: each id of the input is in the output exactly once.
//
// Under Kafka's transactions of version 2 the epoch rises with every transaction, which makes I2 exact; on older
// ones equal epochs prove only the same incarnation.
//
// # Limits
//
// All outputs are kept in memory. Whether a step's outputs are what the operators make of its input is not checked
// here: the journal's digests and a replay do that. The package's tests let engines that break one rule each run for
// real, and expect one of the two to say so.
package checker
