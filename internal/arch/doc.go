// Package arch holds the tests that guard the architecture: which package may import which
// (imports_test.go), and what the exported names are (api_test.go). It has no code.
package arch
