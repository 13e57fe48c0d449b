module github.com/coapkit/coap/examples

go 1.26.0

require (
	github.com/coapkit/coap v0.0.0
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/coapkit/coap => ..
