//go:build linux || darwin || freebsd

package udp

import "syscall"

// cmsgLenSize is the size of the length field: a size_t on Linux, 32 bits elsewhere.
const cmsgLenSize = syscall.SizeofCmsghdr - 8

// cmsgHeader is the size of a header with its padding.
func cmsgHeader() int { return syscall.CmsgLen(0) }

// cmsgSpace is the size of a message with n bytes of data, with all padding.
func cmsgSpace(n int) int { return syscall.CmsgSpace(n) }
