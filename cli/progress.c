/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on standard error, for work of over a second on a terminal. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "text.h"

#define SECOND 1000000000u
#define BAR_MAX 20u

static uint64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

bool
cli_progress_wanted(const cli *c)
{
    return !c->quiet && !c->json && isatty(STDERR_FILENO);
}

void
cli_progress_start(const cli *c, cli_progress *p, const char *label, uint64_t total)
{
    *p = (cli_progress){.on = cli_progress_wanted(c), .label = label, .total = total};
    if (p->on)
        p->started_ns = now_ns();
}

static unsigned
terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

/* "decrypting  42% [######........] 1.2 GiB, 310.5 MiB/s, 0:04 left", as much of it as fits on one line. */
static void
draw(cli_progress *p, uint64_t now)
{
    double seconds = (double)(now - p->started_ns) / SECOND, rate = (double)p->done / seconds;
    char done[16], speed[16], left[32] = "", bar[BAR_MAX + 1] = "", line[256];
    unsigned width = terminal_width();

    cli_format_size(p->done, done);
    cli_format_size((uint64_t)rate, speed);
    if (p->total == 0 || p->done > p->total) {
        snprintf(line, sizeof line, "%s %s, %s/s", p->label, done, speed);
    } else {
        double part = (double)p->done / (double)p->total;
        size_t full = (size_t)(part * BAR_MAX);
        memset(bar, '.', BAR_MAX);
        memset(bar, '#', full < BAR_MAX ? full : BAR_MAX);
        if (rate >= 1)
            cli_format_duration((uint64_t)((double)(p->total - p->done) / rate + 0.5), left);
        snprintf(line, sizeof line, "%s %3u%% [%s] %s, %s/s, %s left", p->label, (unsigned)(part * 100), bar, done,
                 speed, left[0] != '\0' ? left : "?");
    }
    fprintf(stderr, "\r%.*s\033[K", (int)(width > 1 ? width - 1 : 1), line);
    fflush(stderr);
    p->shown = true;
    p->drawn_ns = now;
}

void
cli_progress_add(cli_progress *p, uint64_t bytes)
{
    uint64_t now;

    if (!p->on)
        return;
    p->done += bytes;
    now = now_ns();
    if (now - p->started_ns >= SECOND && now - p->drawn_ns >= SECOND / 5)
        draw(p, now);
}

bool
cli_progress_report(void *progress, uint64_t bytes)
{
    cli_progress *p = progress;

    if (bytes > p->done)
        cli_progress_add(p, bytes - p->done);
    return cli_interrupted() == 0;
}

void
cli_progress_end(cli_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    p->on = false;
    p->shown = false;
}
