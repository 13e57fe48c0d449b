package interop

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// TestMain runs more tests at the same time than there are processors, since they wait for timers of others most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < 8 {
		flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
