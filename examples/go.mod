module github.com/coapkit/coap/examples

go 1.26.0

require (
	github.com/coapkit/coap v0.0.0
	github.com/coapkit/coap/transport/dtls v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/pion/dtls/v3 v3.1.15 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/transport/v5 v5.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.48.0 // indirect
	golang.org/x/sys v0.41.0 // indirect
)

replace (
	github.com/coapkit/coap => ..
	github.com/coapkit/coap/transport/dtls => ../transport/dtls
)
