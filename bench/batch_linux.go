package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchLen = 64   // datagrams in a system call
	roomLen  = 2048 // bytes of a datagram
)

// mmsg is struct mmsghdr.
type mmsg struct {
	unix.Msghdr
	n uint32
}

// batch is the memory of one direction. It must not move, so that it lives on the heap.
type batch struct {
	msgs    [batchLen]mmsg
	iovs    [batchLen]unix.Iovec
	peers   [batchLen]unix.RawSockaddrInet4
	control [batchLen][4]uint64 // one unix.Inet4Pktinfo
	data    [batchLen][roomLen]byte
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.msgs {
		m := &b.msgs[i]
		b.iovs[i].Base = &b.data[i][0]
		b.iovs[i].SetLen(roomLen)
		m.Iov, m.Iovlen = &b.iovs[i], 1
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&b.peers[i])), unix.SizeofSockaddrInet4
		m.Control = (*byte)(unsafe.Pointer(&b.control[i]))
	}
	return b
}

// packets is a socket that moves batches, for many addresses of its own.
type packets struct {
	fd  int
	in  *batch
	out *batch
	n   int // datagrams that wait in out
}

// openPackets opens a socket on all addresses and a port of its own.
func openPackets() (*packets, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	enlarge(fd)
	if err := errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1), unix.Bind(fd, &unix.SockaddrInet4{})); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &packets{fd: fd, in: newBatch(), out: newBatch()}
	for i := range p.out.msgs {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&p.out.control[i]))
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		p.out.msgs[i].SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	}
	return p, nil
}

func (p *packets) close() { unix.Close(p.fd) }

func (p *packets) port() uint16 {
	a, err := unix.Getsockname(p.fd)
	if err != nil {
		return 0
	}
	return uint16(a.(*unix.SockaddrInet4).Port)
}

func info(b *batch, i int) *unix.Inet4Pktinfo {
	return (*unix.Inet4Pktinfo)(unsafe.Add(unsafe.Pointer(&b.control[i]), unix.CmsgLen(0)))
}

// next returns the memory for the next datagram, which leaves from one address for another. The caller calls
// queue when it has filled it in, and flush when there are batchLen.
func (p *packets) next(from uint32, to *unix.RawSockaddrInet4) *[roomLen]byte {
	binary.BigEndian.PutUint32(info(p.out, p.n).Spec_dst[:], from)
	p.out.peers[p.n] = *to
	return &p.out.data[p.n]
}

func (p *packets) queue(length int) {
	p.out.iovs[p.n].SetLen(length)
	p.n++
}

// flush sends what waits. It spins where the kernel has no room.
func (p *packets) flush() error {
	for done := 0; done < p.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.out.msgs[done])), uintptr(p.n-done), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			done += int(n)
		case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ECONNREFUSED:
		default:
			return errno
		}
	}
	p.n = 0
	return nil
}

// receive returns how many datagrams have come, without waiting.
func (p *packets) receive() (int, error) {
	for i := range p.in.msgs {
		p.in.msgs[i].SetControllen(len(p.in.control[i]) * 8)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.in.msgs)), batchLen, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, errno
}

// wait waits until there is something to receive, or for some milliseconds.
func (p *packets) wait(milliseconds int) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, milliseconds)
}

// received returns the bytes of a datagram and the address of ours that it came to.
func (p *packets) received(i int) (b []byte, to uint32) {
	return p.in.data[i][:p.in.msgs[i].n], binary.BigEndian.Uint32(info(p.in, i).Addr[:])
}

func sockaddr(a netip.AddrPort) *unix.RawSockaddrInet4 {
	s := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.Addr().Unmap().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&s.Port))[:], a.Port())
	return s
}
