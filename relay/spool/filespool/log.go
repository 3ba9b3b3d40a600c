package filespool

const (
	segmentHeader = 64
	segmentMagic  = "POSTERN\x01"
	segmentSuffix = ".log"
	spareName     = "spare"
	// Files grow by this much at a time, filled with zeros: syncing data into
	// blocks that are there already spares the file system its journal.
	growth = 4 << 20
	// A batch that has grown so long makes further commits wait.
	batchLimit = 2 << 20
	// Settlements that cannot be written may gather up to this much before
	// leasing stops.
	unwrittenLimit = 16 << 20
)
