package filespool

import (
	"os"
	"syscall"
)

// datasync leaves out what reading the data back does not need, such as times.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func freeBytes(name string) int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(name, &st) != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}
