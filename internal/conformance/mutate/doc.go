// Mutate proves the tests: it breaks the code in small, plausible ways, one at a time, and says which
// breakages the tests notice.
//
//	go run ./internal/conformance/mutate             # all, some minutes
//	go run ./internal/conformance/mutate -run '^sim-|leisure' -v
//	go run ./internal/conformance/mutate -apply      # only whether all of them still apply
//	go run ./internal/conformance/mutate -write      # all, and the share into result.txt
//
// The breakages are in mutations.txt, one block each: its name, the file, the test that has to fail then
// (a package and a pattern as for go test -run, where each element has to match the whole name), what
// it breaks (ids of requirements, or in parentheses a rule of the house), the old text and the new one.
// The old text has to occur exactly once in the file.
//
// The working tree is never written to: the compiler gets the broken file by -overlay, from a temporary
// directory. So there is nothing to restore, however a run ends, and tests can be run meanwhile.
//
// Each named test is first run on the code as it is. A test that fails then, is skipped or matches nothing
// fails the run, and so does a mutation that does not apply or does not compile. Tests run with -short. One
// that hangs with a mutation until its time-out has caught it. The exit status is 1 after such a failure, and if fewer than 95 %
// of the mutations are caught. A survivor asks for a test, not for another mutation,
// unless the new text means the same as the old one.
package main
