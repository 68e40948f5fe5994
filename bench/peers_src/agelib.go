// SPDX-License-Identifier: Apache-2.0

// age's library as an application would use it: agelib read|at KEYFILE FILE [COUNT]
//
//	read  decrypts FILE sequentially into one buffer of 1 MiB, nanoseconds a run
//	at    decrypts COUNT random 4 KiB pieces through DecryptReaderAt where this version has it, nanoseconds each
package main

import (
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"time"

	"filippo.io/age"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	keys, err := os.Open(os.Args[2])
	fail(err)
	identities, err := age.ParseIdentities(keys)
	fail(err)
	file, err := os.Open(os.Args[3])
	fail(err)
	info, err := file.Stat()
	fail(err)
	if os.Args[1] == "read" {
		buffer := make([]byte, 1<<20)
		for i := 0; i < 3; i++ {
			file.Seek(0, io.SeekStart)
			start := time.Now()
			reader, err := age.Decrypt(file, identities...)
			fail(err)
			for err == nil {
				_, err = reader.Read(buffer)
			}
			if err != io.EOF {
				fail(err)
			}
			fmt.Println(time.Since(start).Nanoseconds())
		}
		return
	}
	count, err := strconv.Atoi(os.Args[4])
	fail(err)
	at, size, err := age.DecryptReaderAt(file, info.Size(), identities...)
	fail(err)
	piece := make([]byte, 4096)
	start := time.Now()
	for i := 0; i < count; i++ {
		_, err := at.ReadAt(piece, rand.Int63n(size-4096))
		fail(err)
	}
	fmt.Println(time.Since(start).Nanoseconds() / int64(count))
}
