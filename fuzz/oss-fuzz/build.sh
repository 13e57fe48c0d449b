#!/bin/bash -eu
# Builds the targets of package fuzz for OSS-Fuzz; it runs in the image that Dockerfile describes. The tool
# behind compile_native_go_fuzzer puts a package testing of its own in the place of the real one, so that
#   - it sees no test files: they are renamed,
#   - there is no package testing/synctest: files that need it have the build constraint !gofuzz.
cd "$SRC/coap"
rm -f go.work go.work.sum
rm fuzz/targets_test.go # a test, no target
for file in fuzz/*_test.go; do
	mv "$file" "${file%_test.go}_fuzz.go"
done
printf 'package fuzz\n\nimport _ "github.com/AdamKorcz/go-118-fuzz-build/testing"\n' >fuzz/register_fuzz.go
go get github.com/AdamKorcz/go-118-fuzz-build/testing
go mod tidy

target() { compile_native_go_fuzzer github.com/coapkit/coap/fuzz "$1" "$1"; }

target FuzzBlockClient
target FuzzBlockServer
target FuzzBlockValue
target FuzzDecode
target FuzzDedup
target FuzzEchoClient
target FuzzEngineInput
target FuzzEngines
target FuzzExplain
target FuzzForged
target FuzzLinkFormat
target FuzzMux
target FuzzNames
target FuzzNoResponse
target FuzzObserveOrder
target FuzzOptionEdits
target FuzzURI
