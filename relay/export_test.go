package relay

import "io"

// CRLF is what Submit reads content through.
func CRLF(r io.Reader) io.Reader { return &crlfReader{r: r} }
