/* SPDX-License-Identifier: Apache-2.0 */
/* The file backend with key files: where they are, what is accepted as one, what a failure leaves behind. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/file/keyfile.h"
#include "backend/registry.h"
#include "backend/scratch.h"
#include "util/text.h"

/* ---- a vault of an independent program ----
 * Made from docs/format.md, section 6, alone with another implementation of HKDF and AES-GCM: key 40..5f, vault id
 * 10..1f. */

static const uint8_t vault_id[PQE_VAULT_ID_SIZE] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                                    0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
static const char key_text[] = "pqc-enclave key file v1\n"
                               "101112131415161718191a1b1c1d1e1f\n"
                               "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f\n";
static const char state_hex[] = "0101b1f8eda4bde1221d72d3a78c6a46a871501c096a72a2f864365794d65f912c0f";
static const char blob_hex[] =
    "a0a1a2a3a4a5a6a7a8a9aaab2ab5ffdc1f8c83c3c4e8b50e8d68e6fc96c514f6e436b4e0831663486fa5e14160bf8b1f"
    "6d9f47eb76a805c91f5d0988";
static const char secret_text[] = "sealed by an independent program";

static uint8_t known_state[sizeof state_hex / 2];
static size_t entries_before;

static int
begin(void **state)
{
    (void)state;
    setenv("XDG_CONFIG_HOME", scratch_make(), 1);
    entries_before = 0;
    return pqe__hex_decode(state_hex, sizeof known_state, known_state) ? 0 : -1;
}

static int
end(void **state)
{
    (void)state;
    scratch_remove();
    return 0;
}

static void
write_file(const char *path, const void *text, size_t len, mode_t mode)
{
    int fd;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* Opens "file:key-file=<path>" and attaches to the known vault. */
static pqe_status
attach(const char *path, pqe_error *err)
{
    char config[SCRATCH_PATH_MAX + 32];
    pqe_backend *backend;
    pqe_status status;
    void *key;

    memset(err, 0, sizeof *err);
    snprintf(config, sizeof config, "file:key-file=%s", path);
    assert_int_equal(pqe_backend_open(config, NULL, &backend, NULL), PQE_OK);
    status = pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, err);
    assert_int_equal(err->status, status);
    assert_int_equal(key != NULL, status == PQE_OK);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    return status;
}

static void
check_denied(const char *path, const char *why)
{
    pqe_error err;

    assert_int_equal(attach(path, &err), PQE_E_DENIED);
    if (strstr(err.message, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, why);
}

static pqe_status
enrol(const char *config, pqe_backend **backend, void **key, pqe_error *err)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX];
    pqe_blob state = {.data = bytes, .capacity = sizeof bytes};

    *key = NULL;
    assert_int_equal(pqe_backend_open(config, NULL, backend, NULL), PQE_OK);
    return pqe__backend_enrol(*backend, vault_id, &state, key, err);
}

/* ---- reading ---- */

static void
opens_the_vault_of_an_independent_program(void **state)
{
    uint8_t blob[(sizeof blob_hex - 1) / 2], secret[64];
    pqe_blob out = {.data = secret, .capacity = sizeof secret};
    char path[SCRATCH_PATH_MAX], config[SCRATCH_PATH_MAX + 32];
    pqe_backend *backend;
    void *key;

    (void)state;
    write_file(scratch_path("key", path), key_text, sizeof key_text - 1, 0600);
    snprintf(config, sizeof config, "file:key-file=%s", path);
    assert_true(pqe__hex_decode(blob_hex, sizeof blob, blob));
    assert_int_equal(pqe_backend_open(config, NULL, &backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, NULL), PQE_OK);
    assert_int_equal(pqe__backend_unseal(backend, key, (const uint8_t *)"aad", 3, blob, sizeof blob, &out, NULL),
                     PQE_OK);
    assert_int_equal(out.len, sizeof secret_text - 1);
    assert_memory_equal(secret, secret_text, out.len);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
wants_a_private_file(void **state)
{
    static const mode_t open_modes[] = {0640, 0620, 0610, 0604, 0602, 0601, 0666, 0777};
    static const mode_t private_modes[] = {0400, 0600, 0700};
    char path[SCRATCH_PATH_MAX];
    pqe_error err;

    (void)state;
    scratch_path("key", path);
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        write_file(path, key_text, sizeof key_text - 1, open_modes[i]);
        check_denied(path, "chmod 600");
    }
    for (size_t i = 0; i < sizeof private_modes / sizeof private_modes[0]; i++) {
        write_file(path, key_text, sizeof key_text - 1, private_modes[i]);
        assert_int_equal(attach(path, &err), PQE_OK);
    }
    if (geteuid() != 0)
        return;
    assert_int_equal(chown(path, 65534, 0), 0);
    check_denied(path, "another user");
}

static void
wants_a_regular_file(void **state)
{
    char path[SCRATCH_PATH_MAX], link[SCRATCH_PATH_MAX], loop[SCRATCH_PATH_MAX];
    pqe_error err;

    (void)state;
    scratch_path("key", path);
    scratch_path("link", link);
    scratch_path("loop", loop);
    check_denied(path, "not found");
    assert_int_equal(symlink(path, link), 0);
    check_denied(link, "not found");
    assert_int_equal(mkdir(path, 0700), 0);
    check_denied(path, "not a regular file");
    check_denied(link, "not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    check_denied(path, "not a regular file"); /* and does not wait for a writer */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(loop, loop), 0);
    check_denied(loop, "loop");
    check_denied("/dev/null", "not a regular file");

    write_file(path, key_text, sizeof key_text - 1, 0600); /* a link to a key is a place to keep it like any other */
    assert_int_equal(attach(link, &err), PQE_OK);
    check_denied(scratch_path("key/below", loop), "not found");
}

static void
wants_exactly_the_format(void **state)
{
    const size_t len = sizeof key_text - 1;
    char text[4096] = {0}, path[SCRATCH_PATH_MAX];
    pqe_error err;

    (void)state;
    scratch_path("key", path);
    memcpy(text, key_text, len);
    for (size_t i = 0; i < len; i++) {
        text[i] = key_text[i] == '0' ? '~' : (char)(key_text[i] ^ 0x40); /* neither a hex digit nor a newline */
        write_file(path, text, len, 0600);
        assert_int_not_equal(attach(path, &err), PQE_OK);
        text[i] = key_text[i];
    }
    for (size_t cut = 0; cut < len; cut++) {
        write_file(path, text, cut, 0600);
        check_denied(path, "is not a pqc-enclave key file");
    }
    text[len] = '\n';
    write_file(path, text, len + 1, 0600);
    check_denied(path, "is not a pqc-enclave key file");
    write_file(path, text, sizeof text, 0600);
    check_denied(path, "is not a pqc-enclave key file");
    text[strlen("pqc-enclave key file v")] = '2';
    write_file(path, text, len, 0600);
    assert_int_equal(attach(path, &err), PQE_E_VERSION);
    write_file(path, key_text, len, 0600);
    assert_int_equal(attach(path, &err), PQE_OK);
}

static void
says_whose_key_it_is(void **state)
{
    char text[sizeof key_text], path[SCRATCH_PATH_MAX];

    (void)state;
    memcpy(text, key_text, sizeof text);
    text[strlen("pqc-enclave key file v1\n")] = 'f';
    write_file(scratch_path("key", path), text, sizeof text - 1, 0600);
    check_denied(path, "of another vault, f01112131415161718191a1b1c1d1e1f");
}

static void
notices_a_changed_key(void **state)
{
    char text[sizeof key_text], path[SCRATCH_PATH_MAX];

    (void)state;
    memcpy(text, key_text, sizeof text);
    text[sizeof text - 3] = 'e'; /* the last digit of the key, f before */
    write_file(scratch_path("key", path), text, sizeof text - 1, 0600);
    check_denied(path, "does not open this vault");
}

static void
long_paths_show_their_end(void **state)
{
    char path[SCRATCH_PATH_MAX] = "/nowhere/";
    pqe_error err;

    (void)state;
    for (size_t at = strlen(path); at < 300; at += 2)
        snprintf(path + at, sizeof path - at, "\xc3\xa4/the.key");
    assert_int_equal(attach(path, &err), PQE_E_DENIED);
    assert_non_null(strstr(err.message, "/the.key not found"));
    assert_true(pqe__utf8_valid(err.message, strlen(err.message)));
}

static void
unreadable_is_denied(void **state)
{
    char path[SCRATCH_PATH_MAX], dir[SCRATCH_PATH_MAX];
    pid_t child;
    int result;

    (void)state;
    assert_int_equal(mkdir(scratch_path("dir", dir), 0700), 0);
    write_file(scratch_path("dir/key", path), key_text, sizeof key_text - 1, 0600);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint8_t key[PQE__KEY_SIZE];
        if (geteuid() == 0 ? setgid(65534) != 0 || setuid(65534) != 0 : chmod(dir, 0) != 0)
            _exit(1);
        _exit(pqe__keyfile_read(path, vault_id, key, NULL, NULL) == PQE_E_DENIED ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

/* ---- default place ---- */

static void
finds_the_default_place(void **state)
{
    const char *home = getenv("HOME");
    char saved[SCRATCH_PATH_MAX], buf[SCRATCH_PATH_MAX];

    (void)state;
    snprintf(saved, sizeof saved, "%s", home != NULL ? home : "");
    setenv("HOME", "/home/someone", 1);
    setenv("XDG_CONFIG_HOME", "/etc/someone", 1);
    assert_int_equal(pqe__keyfile_default_path(vault_id, buf, sizeof buf, NULL), PQE_OK);
    assert_string_equal(buf, "/etc/someone/pqc-enclave/101112131415161718191a1b1c1d1e1f.key");
    setenv("XDG_CONFIG_HOME", "relative/someone", 1);
    assert_int_equal(pqe__keyfile_default_path(vault_id, buf, sizeof buf, NULL), PQE_OK);
    assert_string_equal(buf, "/home/someone/.config/pqc-enclave/101112131415161718191a1b1c1d1e1f.key");
    setenv("XDG_CONFIG_HOME", "", 1);
    assert_int_equal(pqe__keyfile_default_path(vault_id, buf, sizeof buf, NULL), PQE_OK);
    assert_string_equal(buf, "/home/someone/.config/pqc-enclave/101112131415161718191a1b1c1d1e1f.key");
    assert_int_equal(pqe__keyfile_default_path(vault_id, buf, 60, NULL), PQE_E_LIMIT);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    if (pqe__keyfile_default_path(vault_id, buf, sizeof buf, NULL) == PQE_OK) { /* from the user database */
        assert_int_equal(buf[0], '/');
        assert_non_null(strstr(buf, "/.config/pqc-enclave/101112131415161718191a1b1c1d1e1f.key"));
    }
    if (saved[0] != '\0')
        setenv("HOME", saved, 1);
}

/* ---- making ---- */

static void
makes_a_private_file_in_a_private_directory(void **state)
{
    char path[SCRATCH_PATH_MAX], dir[SCRATCH_PATH_MAX], text[sizeof key_text + 8] = "";
    pqe_backend *backend;
    mode_t mask = umask(0);
    struct stat st;
    void *key;
    int fd;

    (void)state;
    assert_int_equal(enrol("file", &backend, &key, NULL), PQE_OK);
    umask(mask);
    assert_int_equal(stat(scratch_path("pqc-enclave", dir), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(scratch_entries(), 2);
    scratch_path("pqc-enclave/101112131415161718191a1b1c1d1e1f.key", path);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);

    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof text), sizeof key_text - 1);
    close(fd);
    assert_memory_equal(text, key_text, strlen("pqc-enclave key file v1\n") + 33);

    pqe__backend_discard(backend, vault_id, key);
    assert_int_equal(scratch_entries(), 0);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
an_odd_umask_does_not_matter(void **state)
{
    char config[SCRATCH_PATH_MAX + 32], path[SCRATCH_PATH_MAX];
    mode_t mask = umask(0777);
    pqe_backend *backend;
    struct stat st;
    void *key;

    (void)state;
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("key", path));
    assert_int_equal(enrol(config, &backend, &key, NULL), PQE_OK);
    umask(mask);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
never_overwrites(void **state)
{
    char config[SCRATCH_PATH_MAX + 32], path[SCRATCH_PATH_MAX], other[SCRATCH_PATH_MAX], text[64];
    pqe_error err = {0};
    pqe_backend *backend;
    void *key;
    int fd;

    (void)state;
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("key", path));
    write_file(path, "mine", 4, 0600);
    assert_int_equal(enrol(config, &backend, &key, &err), PQE_E_EXISTS);
    assert_int_equal(err.status, PQE_E_EXISTS);
    pqe_backend_close(&backend);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof text), 4);
    close(fd);
    assert_int_equal(scratch_entries(), 1);

    /* Neither through a link that leads nowhere yet. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(scratch_path("target", other), path), 0);
    assert_int_equal(enrol(config, &backend, &key, &err), PQE_E_EXISTS);
    pqe_backend_close(&backend);
    assert_int_equal(scratch_entries(), 1);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(enrol(config, &backend, &key, &err), PQE_E_EXISTS);
    pqe_backend_close(&backend);
    assert_int_equal(scratch_entries(), 1);
}

static void
makes_and_removes_parent_directories(void **state)
{
    char config[SCRATCH_PATH_MAX + 32], path[SCRATCH_PATH_MAX], dir[SCRATCH_PATH_MAX];
    pqe_backend *backend;
    void *key;

    (void)state;
    assert_int_equal(mkdir(scratch_path("a", dir), 0755), 0);
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("a/b//c/the.key", path));
    assert_int_equal(enrol(config, &backend, &key, NULL), PQE_OK);
    assert_int_equal(scratch_entries(), 4);
    pqe__backend_discard(backend, vault_id, key);
    assert_int_equal(scratch_entries(), 1); /* a was there before */
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
discard_removes_only_its_own(void **state)
{
    char config[SCRATCH_PATH_MAX + 32], path[SCRATCH_PATH_MAX];
    pqe_backend *backend;
    void *key;

    (void)state;
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("key", path));
    assert_int_equal(enrol(config, &backend, &key, NULL), PQE_OK);
    assert_int_equal(rename(path, scratch_path("moved", config)), 0);
    write_file(path, key_text, sizeof key_text - 1, 0600);
    pqe__backend_discard(backend, vault_id, key);
    assert_int_equal(scratch_entries(), 2);
    pqe__backend_detach(backend, key);

    /* A key that was attached is that of a vault which has left it: its file goes, unless another has its place. */
    assert_int_equal(pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, NULL), PQE_OK);
    assert_int_equal(rename(path, scratch_path("moved too", config)), 0);
    write_file(path, key_text, sizeof key_text - 1, 0600);
    pqe__backend_discard(backend, vault_id, key);
    assert_int_equal(scratch_entries(), 3);
    pqe__backend_detach(backend, key);
    assert_int_equal(pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, NULL), PQE_OK);
    pqe__backend_discard(backend, vault_id, key);
    assert_int_equal(scratch_entries(), 2);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

/* What a process that died in enrol() left is told by the vault id in it. */
static void
forget_removes_only_that_vaults(void **state)
{
    static const uint8_t other_id[PQE_VAULT_ID_SIZE] = {0x77};
    char config[SCRATCH_PATH_MAX + 32], path[SCRATCH_PATH_MAX], temp[SCRATCH_PATH_MAX], name[64], hex[33];
    pqe_backend *backend;
    pqe_error err = {0};
    void *key;

    (void)state;
    pqe__hex_encode(vault_id, sizeof vault_id, hex);
    snprintf(name, sizeof name, ".%s.tmp", hex);
    write_file(scratch_path(name, temp), key_text, 20, 0600);
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("key", path));
    assert_int_equal(enrol(config, &backend, &key, &err),
                     PQE_E_EXISTS); /* as a move would find it, which forgets nothing */
    assert_non_null(strstr(err.message, name));
    assert_int_equal(scratch_entries(), 1);
    write_file(path, key_text, sizeof key_text - 1, 0600);
    pqe__backend_forget(backend, other_id);
    assert_int_equal(scratch_entries(), 2);
    pqe__backend_forget(backend, vault_id);
    assert_int_equal(scratch_entries(), 0);
    write_file(path, "something else", 14, 0600);
    pqe__backend_forget(backend, vault_id);
    assert_int_equal(scratch_entries(), 1);
    pqe_backend_close(&backend);
}

static void
check_failed_enrol(const char *config, pqe_status expected)
{
    pqe_error err = {0};
    pqe_backend *backend;
    void *key;

    entries_before = scratch_entries();
    assert_int_equal(enrol(config, &backend, &key, &err), expected);
    assert_int_equal(err.status, expected);
    assert_true(err.message[0] != '\0');
    assert_null(key);
    pqe_backend_close(&backend);
    assert_int_equal(scratch_entries(), entries_before);
}

static void
a_failed_enrol_leaves_nothing(void **state)
{
    char path[SCRATCH_PATH_MAX], config[SCRATCH_PATH_MAX + 32], name[300];

    (void)state;
    write_file(scratch_path("file", path), "x", 1, 0600);
    snprintf(config, sizeof config, "file:key-file=%s/below/key", path);
    check_failed_enrol(config, PQE_E_IO);
    snprintf(config, sizeof config, "file:key-file=%s/", path);
    check_failed_enrol(config, PQE_E_ARGUMENT);
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("new/dir/..", path));
    check_failed_enrol(config, PQE_E_ARGUMENT);
    check_failed_enrol("file:key-file=/proc/nothing/here", PQE_E_IO);
    memset(name, 'x', sizeof name - 1); /* longer than a file name may be, found out when the directories exist */
    name[sizeof name - 1] = '\0';
    snprintf(config, sizeof config, "file:key-file=%s/new/%.256s", getenv("XDG_CONFIG_HOME"), name);
    check_failed_enrol(config, PQE_E_IO);
}

static void
a_full_disk_leaves_nothing(void **state)
{
    struct rlimit before, small;
    char path[SCRATCH_PATH_MAX], config[SCRATCH_PATH_MAX + 32];
    struct sigaction ignore = {.sa_handler = SIG_IGN}, saved;

    (void)state;
    /* A limit on file sizes fails the write half-way, as a full disk does. */
    assert_int_equal(sigaction(SIGXFSZ, &ignore, &saved), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 60, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_failed_enrol("file", PQE_E_NO_SPACE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(sigaction(SIGXFSZ, &saved, NULL), 0);

    /* And a disk that really is full, where one can be had. */
    assert_int_equal(mkdir(scratch_path("disk", path), 0700), 0);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=0700") != 0)
        return;
    write_file(scratch_path("disk/filler", path), config, sizeof config, 0600);
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path("disk/dir/key", path));
    check_failed_enrol(config, PQE_E_NO_SPACE);
    assert_int_equal(mount(NULL, scratch_path("disk", path), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    check_failed_enrol(config, PQE_E_READ_ONLY);
    assert_int_equal(umount(path), 0);
}

static void
an_unwritable_directory_leaves_nothing(void **state)
{
    char dir[SCRATCH_PATH_MAX], path[SCRATCH_PATH_MAX];
    pid_t child;
    int result;

    (void)state;
    assert_int_equal(chmod(getenv("XDG_CONFIG_HOME"), 0755), 0);
    assert_int_equal(mkdir(scratch_path("dir", dir), 0555), 0);
    scratch_path("dir/key", path);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* root may write anywhere */
        static const uint8_t key[PQE__KEY_SIZE] = {1};
        pqe__keyfile_made made;
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(1);
        _exit(pqe__keyfile_create(path, vault_id, key, &made, NULL) == PQE_E_IO && made.path == NULL ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    assert_int_equal(scratch_entries(), 1);
}

/* ---- against what the state says ---- */

static void
tells_a_later_state_from_a_malformed_one(void **state)
{
    static const struct {
        uint8_t bytes[34];
        size_t len;
        pqe_status status;
        const char *text;
    } cases[] = {
        {{2, 1}, 34, PQE_E_VERSION, "the file backend's state is of another version"},
        {{2}, 1, PQE_E_VERSION, "the file backend's state is of another version"},
        {{0, 1}, 34, PQE_E_VERSION, "the file backend's state is of another version"},
        {{0}, 0, PQE_E_TAMPERED, "the file backend's state is malformed"},
        {{1}, 1, PQE_E_TAMPERED, "the file backend's state is malformed"},
        {{1, 0}, 34, PQE_E_TAMPERED, "the file backend's state is malformed"},
        {{1, 3}, 34, PQE_E_TAMPERED, "the file backend's state is malformed"},
        {{1, 1}, 33, PQE_E_TAMPERED, "the file backend's state is malformed"},
        {{1, 2}, 34, PQE_E_TAMPERED, "the file backend's state is malformed"},
    };
    pqe_backend *backend;

    (void)state;
    assert_int_equal(pqe_backend_open("file", NULL, &backend, NULL), PQE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_error err = {0};
        void *key;
        assert_int_equal(pqe__backend_attach(backend, vault_id, cases[i].bytes, cases[i].len, &key, &err),
                         cases[i].status);
        assert_string_equal(err.message, cases[i].text);
        assert_null(pqe__backend_key_source(backend->ops, cases[i].bytes, cases[i].len));
    }
    pqe_backend_close(&backend);
}

static void
refuses_the_wrong_mode(void **state)
{
    pqe_backend *backend;
    pqe_error err = {0};
    void *key;

    (void)state;
    assert_int_equal(pqe_backend_open("file:passphrase", NULL, &backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, &err),
                     PQE_E_ARGUMENT);
    assert_string_equal(err.message, "this vault is opened by a key file, not by a passphrase");
    assert_string_equal(pqe__backend_key_source(backend->ops, known_state, sizeof known_state), "key-file");
    assert_null(pqe__backend_key_source(backend->ops, known_state, sizeof known_state - 1));
    pqe_backend_close(&backend);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_the_vault_of_an_independent_program, begin, end),
        cmocka_unit_test_setup_teardown(wants_a_private_file, begin, end),
        cmocka_unit_test_setup_teardown(wants_a_regular_file, begin, end),
        cmocka_unit_test_setup_teardown(wants_exactly_the_format, begin, end),
        cmocka_unit_test_setup_teardown(says_whose_key_it_is, begin, end),
        cmocka_unit_test_setup_teardown(notices_a_changed_key, begin, end),
        cmocka_unit_test_setup_teardown(long_paths_show_their_end, begin, end),
        cmocka_unit_test_setup_teardown(unreadable_is_denied, begin, end),
        cmocka_unit_test_setup_teardown(finds_the_default_place, begin, end),
        cmocka_unit_test_setup_teardown(makes_a_private_file_in_a_private_directory, begin, end),
        cmocka_unit_test_setup_teardown(an_odd_umask_does_not_matter, begin, end),
        cmocka_unit_test_setup_teardown(never_overwrites, begin, end),
        cmocka_unit_test_setup_teardown(makes_and_removes_parent_directories, begin, end),
        cmocka_unit_test_setup_teardown(discard_removes_only_its_own, begin, end),
        cmocka_unit_test_setup_teardown(forget_removes_only_that_vaults, begin, end),
        cmocka_unit_test_setup_teardown(a_failed_enrol_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(an_unwritable_directory_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(tells_a_later_state_from_a_malformed_one, begin, end),
        cmocka_unit_test_setup_teardown(refuses_the_wrong_mode, begin, end),
    };

    return cmocka_run_group_tests_name("key files", tests, NULL, NULL);
}
