package main

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// diskSpeed is how many megabytes a second the disk of a folder takes in files
// of 1 MB, each synced: no server can accept more of large messages.
func diskSpeed(dir string) (float64, error) {
	const files = 64
	return inFolder(dir, func(dir string) (float64, error) {
		begin, content := time.Now(), make([]byte, 1<<20)
		var group errgroup.Group
		group.SetLimit(16)
		for i := range files {
			group.Go(func() error {
				f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := f.Write(content); err != nil {
					return err
				}
				return f.Sync()
			})
		}
		err := group.Wait()
		return files / time.Since(begin).Seconds(), err
	})
}
