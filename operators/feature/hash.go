package feature

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// hashVersion is the version of the function that docs/format/hash.md defines.
// A change of it makes every learnt weight meaningless, so it is part of what
// old state is compared with.
const hashVersion = 1

// Seeds of the chain: the number of columns for numbers, categories, crosses and
// sparse indices, and 0 for the tokens of a text, so that a token and a category
// of one column and one spelling are two features.
const textSeed = 0

// charSeed is the seed of the runs of characters of a text's tokens.
const charSeed = 1<<64 - 2

// nullSeed is the seed of the feature that says that a number is missing.
const nullSeed = 1<<64 - 1

// nameHash is the chain after the names of the columns: the index of a numeric
// column, and the seed of everything that is said about those columns.
func nameHash(seed uint64, names ...string) uint64 {
	h := seed
	for _, n := range names {
		h = xxh3.HashStringSeed(n, h)
	}
	return h
}

// link appends one text to the chain.
func link(h uint64, text []byte) uint64 { return xxh3.HashSeed(text, h) }

// linkIndex appends the index of a sparse vector to the chain: its four bytes,
// least first.
func linkIndex(h uint64, index uint32) uint64 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], index)
	return xxh3.HashSeed(b[:], h)
}
