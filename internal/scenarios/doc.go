// Package scenarios holds tests that are the same for every transport: messages, block-wise transfer and observation over
// datagrams that get lost, repeated and reordered, with addresses that change and servers that restart.
//
// A scenario is a function of a test and a [Transport]. It takes place in a simulated network, in virtual time. The tests of
// the root package run the scenarios over plain datagrams, those of package transport/dtls in secure sessions. Each
// test there says which requirements it proves.
package scenarios
