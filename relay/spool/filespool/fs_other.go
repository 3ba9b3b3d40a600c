//go:build !linux

package filespool

import "os"

func datasync(f *os.File) error { return f.Sync() }

func freeBytes(string) int64 { return -1 }
