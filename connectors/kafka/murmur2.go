package kafka

// PartitionForKey returns the partition of n that Kafka's own clients choose for
// a record with this key: murmur2 of the key, sign bit cleared, modulo n. n must
// be at least 1. A nil and an empty key are the same here; Kafka's clients spread
// records without a key instead of hashing them.
func PartitionForKey(key []byte, n int) int32 {
	return int32((murmur2(key) & 0x7fffffff) % uint32(n))
}

// murmur2 is MurmurHash2 (Austin Appleby, public domain), 32 bits, with the seed
// that Kafka's clients use.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	// The rest, of up to three bytes, without a branch on how many there are: keys of
	// many lengths come in no order that a processor could foresee.
	n := len(b)
	if n > 0 {
		k := uint32(b[0]) | uint32(b[n>>1])<<(8*(n>>1)) | uint32(b[n-1])<<(8*(n-1))
		h ^= k
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
