module github.com/coapkit/coap/bench

go 1.26.0

require (
	github.com/coapkit/coap v0.0.0
	github.com/plgd-dev/go-coap/v3 v3.8.0
	golang.org/x/sys v0.49.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

require (
	github.com/coapkit/coap/transport/dtls v0.0.0
	github.com/dsnet/golib/memfile v1.0.0 // indirect
	github.com/pion/dtls/v3 v3.1.15
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/transport/v5 v5.1.4 // indirect
	github.com/stretchr/testify v1.12.1
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20261014143641-f0251eb4aa3e // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/coapkit/coap => ..

replace github.com/coapkit/coap/transport/dtls => ../transport/dtls
