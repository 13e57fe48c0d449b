module github.com/coapkit/coap/cmd/coap

go 1.26.0

require (
	github.com/coapkit/coap v0.0.0
	github.com/coapkit/coap/transport/dtls v0.0.0
	github.com/spf13/cobra v1.10.2
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/pion/dtls/v3 v3.1.15 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/transport/v5 v5.0.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.48.0 // indirect
	golang.org/x/sys v0.41.0 // indirect
)

replace (
	github.com/coapkit/coap => ../..
	github.com/coapkit/coap/transport/dtls => ../../transport/dtls
)
