package outbound

import "syscall"

// acker returns a function that acknowledges what a socket has received, now
// and not with what is written next. It costs one system call.
func acker(rc syscall.RawConn) func() {
	ack := func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	}
	return func() { _ = rc.Control(ack) }
}
