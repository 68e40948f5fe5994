/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watcher: one thread a process that ends sessions when they expire, so that keys are wiped on time even if nobody
 * calls. It sleeps on a timerfd of CLOCK_BOOTTIME (which counts suspend and which setting the clock does not move) and
 * on an eventfd by which new sessions announce themselves.
 */
#include "vault/internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/fsio.h"

static struct {
    pthread_mutex_t lock;
    bool started;
    int timer_fd, event_fd;
    pqe_vault *vaults;
} watcher = {.lock = PTHREAD_MUTEX_INITIALIZER, .timer_fd = -1, .event_fd = -1};

static pthread_once_t watcher_once = PTHREAD_ONCE_INIT;

static void
fork_prepare(void)
{
    pthread_mutex_lock(&watcher.lock);
}

static void
fork_parent(void)
{
    pthread_mutex_unlock(&watcher.lock);
}

/* The child has no watcher thread and no unlocked vault; one that it opens itself starts a new thread. */
static void
fork_child(void)
{
    pqe__close_fd(&watcher.timer_fd);
    pqe__close_fd(&watcher.event_fd);
    watcher.started = false;
    watcher.vaults = NULL;
    pthread_mutex_unlock(&watcher.lock);
}

static void
install_fork_handlers(void)
{
    pqe__secmem_init(); /* its lock is taken inside ours, so at fork too ours comes first */
    pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* Ends what has expired; returns nanoseconds until the next expiry, 0 if there is none. */
static uint64_t
sweep(void)
{
    uint64_t next = 0;

    pthread_mutex_lock(&watcher.lock);
    for (pqe_vault *v = watcher.vaults; v != NULL; v = v->watch_next) {
        uint64_t left = pqe__session_try_expire(v);
        if (left != 0 && (next == 0 || left < next))
            next = left;
    }
    pthread_mutex_unlock(&watcher.lock);
    return next;
}

static void *
watch(void *arg)
{
    int fds[2] = {((int *)arg)[0], ((int *)arg)[1]};
    struct pollfd wait[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};

    for (;;) {
        struct itimerspec when = {0};
        uint64_t next = sweep(), count;
        when.it_value.tv_sec = (time_t)(next / 1000000000u);
        when.it_value.tv_nsec = (long)(next % 1000000000u);
        timerfd_settime(fds[0], 0, &when, NULL);
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return NULL;
        for (int i = 0; i < 2; i++)
            if ((wait[i].revents & POLLIN) != 0 && read(fds[i], &count, sizeof count) < 0 && errno != EAGAIN)
                return NULL;
    }
}

static pqe_status
start_thread(pqe_error *err)
{
    static int fds[2];
    sigset_t all, old;
    pthread_t thread;
    int rc;

    watcher.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    watcher.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watcher.timer_fd < 0 || watcher.event_fd < 0) {
        rc = errno;
        goto fail;
    }
    fds[0] = watcher.timer_fd;
    fds[1] = watcher.event_fd;
    /* The application's signals are none of this thread's business. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, NULL, watch, fds);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        goto fail;
    pthread_detach(thread);
    watcher.started = true;
    return PQE_OK;

fail:
    pqe__close_fd(&watcher.timer_fd);
    pqe__close_fd(&watcher.event_fd);
    return pqe__fail_errno(err, rc, "cannot start the thread that ends sessions");
}

pqe_status
pqe__watcher_start(pqe_error *err)
{
    pqe_status status = PQE_OK;

    pthread_once(&watcher_once, install_fork_handlers);
    pthread_mutex_lock(&watcher.lock);
    if (!watcher.started)
        status = start_thread(err);
    pthread_mutex_unlock(&watcher.lock);
    return status;
}

void
pqe__watcher_add(pqe_vault *vault)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&watcher.lock);
    if (!vault->watched) {
        vault->watch_next = watcher.vaults;
        watcher.vaults = vault;
        vault->watched = true;
    }
    /* Only a full counter fails, and then a wake-up is due anyway. */
    if (write(watcher.event_fd, &one, sizeof one) < 0)
        (void)errno;
    pthread_mutex_unlock(&watcher.lock);
}

void
pqe__watcher_remove(pqe_vault *vault)
{
    pthread_mutex_lock(&watcher.lock);
    for (pqe_vault **link = &watcher.vaults; *link != NULL; link = &(*link)->watch_next) {
        if (*link == vault) {
            *link = vault->watch_next;
            break;
        }
    }
    vault->watched = false;
    pthread_mutex_unlock(&watcher.lock);
}
