package intake

import "io"

// NewCRWriter returns what makes line ends of the CRs that a CRLFReader leaves.
func NewCRWriter(w io.Writer) io.Writer { return &crWriter{w: w} }

// NewLineBreaker returns what breaks the overlong lines of submissions.
func NewLineBreaker(w io.Writer) io.Writer { return &lineBreaker{w: w} }

// Fold folds the value of a header field.
var Fold = fold
