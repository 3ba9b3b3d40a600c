package sevenbit_test

import (
	"io"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// Memory does not grow with the message.
func TestMemory(t *testing.T) {
	content := func(n int64) io.Reader {
		return io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), io.LimitReader(endless{}, n))
	}
	used := func(n int64) float64 {
		return testing.AllocsPerRun(1, func() {
			plan, err := sevenbit.Scan(content(n))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, plan.Reader(content(n), false)); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		})
	}
	if small, large := used(1<<10), used(8<<20); large > small+20 {
		t.Errorf("%v allocations for 1 KiB, %v for 8 MiB", small, large)
	}
}

// endless is one line of 8-bit text without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "na\u00efve "[i%7]
	}
	return len(p), nil
}

func BenchmarkConvert(b *testing.B) {
	line := strings.Repeat("na\u00efve text of a usual kind ", 3)[:76] + "\r\n"
	text := "Subject: x\r\n\r\n" + strings.Repeat(line, 1<<20/len(line))
	clean := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<20/78)
	binary := "Subject: x\r\nContent-Type: image/png\r\n\r\n" + strings.Repeat(
		"\xff\xfe\x01\x02"+strings.Repeat("\x80", 60)+"\r\n", 1<<20/66,
	)
	for _, c := range []struct{ name, content string }{{"text", text}, {"binary", binary}} {
		b.Run(c.name, func(b *testing.B) {
			plan, err := sevenbit.Scan(strings.NewReader(c.content))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.content)))
			b.ReportAllocs()
			for b.Loop() {
				r := plan.Reader(strings.NewReader(c.content), false)
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(clean)))
		b.ReportAllocs()
		for b.Loop() {
			if plan, err := sevenbit.Scan(strings.NewReader(clean)); err != nil || plan.Eight() {
				b.Fatal(err)
			}
		}
	})
}
