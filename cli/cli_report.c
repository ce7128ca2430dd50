/* alignpro report RUN | --compare RUN RUN … --out DIR: pages and tables of what runs hold. */
#include "cli.h"
#include "cli_run.h"

#include "alignpro/report.h"

#include <string.h>

static int help(void)
{
    puts("usage: alignpro report RUN\n"
         "       alignpro report --compare RUN RUN... --out DIR\n"
         "Pages and tables of what run directories hold; no model is run.\n"
         "  RUN            its report.html, eval.json, eval.csv and eval.tex are made anew\n"
         "  --compare      several runs side by side: DIR/report.html, compare.json, compare.csv\n"
         "                 and compare.tex. Runs that differ only in a seed are the seeds of one\n"
         "                 cell (data set, prompter, target); label.data, label.prompter and\n"
         "                 label.target of their recipes name it\n"
         "  --out DIR      where a comparison is written; made where it is not there");
    return cli_finish(CLI_OK);
}

static int finish(ap_status status, char *text, const char *dir, const struct ap_error *err)
{
    if (status != AP_OK)
        return cli_fail(err);
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    printf("%s\nThe full report: %s%sreport.html\n", text, dir, slash);
    ap_text_free(text);
    return cli_finish(CLI_OK);
}

static int check(bool compare, const char *out, const char *const *runs, int n)
{
    if (n == 0)
        return cli_usage_error("report", "no run directory, expected %s",
                               compare ? "those to compare" : "one");
    if (!compare && n > 1)
        return cli_usage_error("report", "%d run directories, expected one; --compare takes more",
                               n);
    if (compare && !out)
        return cli_usage_error("report", "--out is missing, expected a folder for the comparison");
    if (!compare && out)
        return cli_usage_error("report", "--out is an option of --compare");
    return cli_check_paths("report", runs, n);
}

int cli_report(int argc, char **argv)
{
    static const struct option rows[] = {{"compare", no_argument, NULL, 'c'},
                                         {"out", required_argument, NULL, 'o'},
                                         {"help", no_argument, NULL, 'h'},
                                         {NULL, 0, NULL, 0}};
    struct ap_error err = {0};
    const char *out = NULL;
    char *text = NULL;
    bool compare = false;
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, rows)) != -1) {
        if (option == 'h')
            return help();
        if (option != 'c' && option != 'o')
            return cli_option_error("report", option, argv);
        compare = compare || option == 'c';
        out = option == 'o' ? optarg : out;
    }
    const char *const *runs = (const char *const *)argv + optind;
    int n = argc - optind, code = check(compare, out, runs, n);
    if (code != CLI_OK)
        return code;
    ap_status status = compare ? ap_report_compare(runs, (size_t)n, out, &text, &err)
                               : ap_report_run(runs[0], &text, &err);
    return finish(status, text, compare ? out : runs[0], &err);
}
