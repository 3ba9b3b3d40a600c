//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package outbound

import "syscall"

// peeker returns a function that tells whether a socket is open and has nothing
// to read. It costs one system call.
func peeker(rc syscall.RawConn) func() bool {
	var buf [1]byte
	silent := false
	look := func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = n <= 0 &&
			(err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR)
		return true
	}
	return func() bool { return rc.Read(look) == nil && silent }
}
